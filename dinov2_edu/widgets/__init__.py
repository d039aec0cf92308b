"""Live controls for the book's pages: a Python class that hands over data, an ES module that does the rest.

Import a widget from its own file: `from dinov2_edu.widgets.crops import CropsWidget`. None of them needs a
kernel once it is shown, and none of them imports torch.
"""
