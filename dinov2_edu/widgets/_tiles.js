// Small pictures that lie on one sheet, as mistakes.py lays them out (`sprite_sheet`).

/** Draws tiles of the sheet, with hard pixels or `smooth`: drawTile(ctx, tile, side in CSS pixels). */
export function tileDrawer(model, sheet, smooth = false) {
  const [tile, from] = [model.get("tile"), model.get("side")];
  const columns = sheet.width / tile;
  return (ctx, which, side) => {
    const [x, y] = [(which % columns) * tile, Math.floor(which / columns) * tile];
    Object.assign(ctx, { imageSmoothingEnabled: smooth, imageSmoothingQuality: "high" });
    ctx.drawImage(sheet, x, y, from, from, 0, 0, side, side);
  };
}
