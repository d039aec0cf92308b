"""Which pictures of a large, messy collection to keep, decided by features alone: no label is looked at.

Three stages: copies are found and removed, pictures near those of a good collection are retrieved, and what is taken is
spread over clusters.

Source: paper, section 3 and appendix A (the data set LVD-142M).
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import KMeans
from sklearn.metrics.cluster import pair_confusion_matrix
from torch import Tensor
from torch.nn.functional import normalize

from dinov2_edu.checks import check_at_least, checked, require
from dinov2_edu.numerics import torch_defaults
from dinov2_edu.probe.checks import check_rows
from dinov2_edu.probe.knn import nearest


@checked
@torch_defaults()
def copy_groups(features: Float[Tensor, "n d"], threshold: float, k: int = 64) -> Int[Tensor, " n"]:
    """Number the groups of pictures that are copies of each other, directly or by way of others.

    Two pictures are joined where one is among the k nearest of the other and their cosine similarity reaches the
    threshold; a group is a connected component of that graph.

    Args:
        features: one row a picture.
        threshold: lowest cosine similarity of a pair, -1 to 1.
        k: neighbours looked at, the picture itself among them; fewer where there are fewer pictures.

    Returns:
        The group of each picture, numbered from 0 in the order in which they appear.

    Raises:
        ValueError: no rows, numbers that are not finite, or a threshold or k outside its bounds.

    Source: paper, appendix A ("Self-deduplication": nearest neighbours, a threshold, connected components).
    """
    check_rows(features, "features")
    check_at_least(1, k=k)
    require(-1 <= threshold <= 1, f"threshold must be a cosine similarity, -1 to 1, got {threshold}")
    n = len(features)
    similarities, neighbours = nearest(features, features, min(k, n))
    near = (similarities >= threshold).cpu()
    rows = torch.arange(n)[:, None].expand_as(near)[near]
    columns = neighbours.cpu()[near]
    graph = coo_matrix((np.ones(len(rows), bool), (rows.numpy(), columns.numpy())), shape=(n, n))
    _, found = connected_components(graph, directed=False)
    names, first, group = np.unique(found, return_index=True, return_inverse=True)
    order = np.empty(len(names), np.int64)
    order[first.argsort()] = np.arange(len(names))
    return torch.from_numpy(order[group])


@checked
def keep_first(groups: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Mark the first picture of each group: what is kept of copies."""
    require(len(groups) > 0, "wanted the group of at least one picture, got none")
    _, first = np.unique(groups.cpu().numpy(), return_index=True)
    kept = torch.zeros(len(groups), dtype=torch.bool)
    kept[torch.from_numpy(first)] = True
    return kept


@checked
def group_scores(groups: Int[Tensor, " n"], truth: Int[Tensor, " n"]) -> tuple[float, float]:
    """How well groups agree with the truth, pair by pair.

    Returns:
        Precision, the share of pairs in one group that belong together, 1 where no pair is in one group; and recall,
        the share of pairs that belong together and are in one group, 1 where none do.
    """
    require(len(groups) > 0, "wanted the group of at least one picture, got none")
    (_, false), (missed, right) = pair_confusion_matrix(truth.cpu().numpy(), groups.cpu().numpy()).tolist()
    return right / (right + false) if right + false else 1.0, right / (
        right + missed
    ) if right + missed else 1.0


@checked
@torch_defaults()
def retrieve(pool: Float[Tensor, "n d"], queries: Float[Tensor, "m d"], k: int = 4) -> Int[Tensor, " r"]:
    """The pictures of the pool that are among the k nearest of any query, in the order of the pool.

    Args:
        pool: features to choose from.
        queries: features of the good collection.
        k: pictures wanted for each query; many queries may want the same.

    Raises:
        ValueError: as `nearest`.

    Source: paper, section 3 ("Image retrieval").
    """
    _, indices = nearest(pool, queries, k)
    return indices.unique()


@checked
@torch_defaults()
def retrieve_clusters(
    pool: Float[Tensor, "n d"],
    queries: Float[Tensor, "m d"],
    *,
    n_clusters: int,
    per_cluster: int,
    least: int = 3,
    generator: torch.Generator,
) -> Int[Tensor, " r"]:
    """A sample of equal size from each cluster of the pool into which enough queries fall, in the order of the pool.

    Args:
        pool: features to choose from; they are clustered by k-means on unit vectors.
        queries: features of the good collection.
        n_clusters: of the pool, at most its size.
        per_cluster: pictures taken from a cluster, fewer where it has fewer.
        least: queries that must fall into a cluster for it to be sampled from.
        generator: draws the start of k-means and the samples.

    Raises:
        ValueError: as `nearest`; a number below 1, or more clusters than pictures.

    Source: paper, appendix A (retrieval for small sets, by clusters).
    """
    check_rows(pool, "pool")
    check_rows(queries, "queries")
    check_at_least(1, n_clusters=n_clusters, per_cluster=per_cluster, least=least)
    require(
        n_clusters <= len(pool),
        f"n_clusters must be at most the pool's {len(pool)} pictures, got {n_clusters}",
    )
    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    unit, asked = (normalize(one.float(), dim=1).cpu().numpy() for one in (pool, queries))
    clusters = KMeans(n_clusters, n_init=1, random_state=seed).fit(unit)
    counts = np.bincount(clusters.predict(asked), minlength=n_clusters)
    taken = []
    for cluster in np.flatnonzero(counts >= least):
        members = torch.from_numpy(np.flatnonzero(clusters.labels_ == cluster))
        order = torch.randperm(len(members), generator=generator, device=generator.device).cpu()
        taken.append(members[order[:per_cluster]])
    return torch.cat(taken).sort().values if taken else torch.empty(0, dtype=torch.int64)
