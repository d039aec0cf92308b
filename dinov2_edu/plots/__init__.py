"""Pictures of the book: figures from arrays, and diagrams drawn as SVG with real text.

    palette             the colour of each role, the same everywhere
    style               the look of every matplotlib figure, and how a notebook shows it
    pictures            figures made of photos: image grids, attention maps, PCA colours
    views               what the networks are given: crops of a photo, masks over it
    charts              figures made of numbers: curves, histograms, bars
    panels              small charts side by side: schedules, a training history, collapsed runs
    scores              figures about predictions: confusion, reliability, probabilities, points on a sphere
    svg, parts          the drawing kit of the diagrams, and the parts they share (networks, tokens, crops)
    diagrams            the diagrams themselves, in the book's order

Nothing here imports a model: everything is drawn from plain arrays.
"""
