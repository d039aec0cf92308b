// What every widget of the book shares.
//
// A widget imports from here and, for parts of its own, from other files beside it. The Python side (`bundle` in
// _base.py) pastes all of them in front of the widget's own file, so that a page gets one self-contained module.
// They share one scope there: no two files may use the same name at their top level.
export * from "./_numbers.js";
export * from "./_shell.js";
export * from "./_controls.js";
export * from "./_figures.js";
