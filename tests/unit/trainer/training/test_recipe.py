import pytest

from trainer.errors import RecipeError
from trainer.training.recipe import read_recipe, recipe_names


def test_every_shipped_recipe_is_right():
    names = recipe_names()
    assert {"tiny", "gpu", "r100-arcface", "r50-cosface", "m1-softmax", "m1-triplet"} <= set(names)
    for name in names:
        read_recipe(name)


def test_settings_win_over_the_file():
    recipe = read_recipe("tiny", ["run.steps=7", "head.loss=arcface", 'run.targets=["lfw"]'])
    assert (recipe.run.steps, recipe.head.loss, recipe.run.targets) == (7, "arcface", ("lfw",))


def test_a_file_of_ones_own(tmp_path):
    (tmp_path / "mine.toml").write_text("[run]\nbatch = 3\n")
    assert read_recipe(str(tmp_path / "mine.toml")).run.batch == 3
    (tmp_path / "mine.toml").write_text("[run\n")
    with pytest.raises(RecipeError, match="is not TOML"):
        read_recipe(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("run.stops=1", r"recipe key run\.stops: extra inputs"),
        ("runs.steps=1", "recipe key runs: extra inputs"),
        ("run.steps=0", r"recipe key run\.steps: input should be greater"),
        ("run.steps=many", r"recipe key run\.steps: input should be a valid integer"),
        ("head.rate=0.5", r"recipe: head\.rate below 1 needs head\.sharded"),
        ("head.blend=0.5", r"recipe: head\.blend and head\.warp need head\.loss = distill"),
        ("head.loss=triplet", r"recipe: run\.batch must be a multiple of 3, not 32"),
        ("run=1", r"expected section\.key=value"),
        ("run.steps", r"expected section\.key=value"),
    ],
)
def test_what_is_wrong_is_named(setting, expected):
    with pytest.raises(RecipeError, match=expected):
        read_recipe("tiny", [setting])


def test_an_unknown_recipe_lists_those_there_are():
    with pytest.raises(RecipeError, match=r"cannot read recipe nix.*tiny"):
        read_recipe("nix")
