"""Commands that keep the project in shape. None of this is installed with the package.

- `address` spreads the repository's address and the release to everywhere else.
- `notebooks` holds the rules of a notebook: strips one, says what breaks a rule.
- `imports` reads from the source who imports whom in the package.
- `at_hand` says which weights and data a notebook would find.
- `build_book` builds the book strictly.
- `book_extension` is what the book's pages need beyond Jupyter Book (a Sphinx extension).
- `browser` finds or installs the browser that the page tests drive.
- `environment` makes .venv; `make setup` is this command.
- `pythons` finds a Python of a wanted version.
- `colab` makes an environment of the versions that Colab ships, `lowest` one of the lowest versions allowed.
- `constraints` renews the exact versions and checksums that `make setup` installs.
"""
