"""Commands and recorded runs, on top of both towers: presets, training, ablations, evaluation, probe and study.

`python -m dinov2_edu` lists the commands. Import from the module you need:
`from dinov2_edu.experiments.presets import patterns10_run`.
"""
