"""Arguments that several commands take."""

from typing import Annotated

import typer

Recipe = Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped one.", metavar="RECIPE")]
