import json
import re

import pytest
from typer.testing import CliRunner

from trainer.cli import app
from trainer.errors import RecipeError
from trainer.training.recipe import Recipe, read_recipe, recipe_names
from trainer.training.recipe_keys import idle_keys, recipe_keys, recipe_summary, recipe_values


def test_every_shipped_recipe_is_right():
    names = recipe_names()
    assert {"tiny", "gpu", "r100-arcface", "r50-cosface", "m1-softmax", "m1-triplet"} <= set(names)
    for name in names:
        read_recipe(name)


def test_every_shipped_recipe_leaves_the_precision_to_the_device():
    assert {read_recipe(name).run.precision for name in recipe_names()} == {"auto"}


def test_every_network_and_output_is_named():
    pytest.importorskip("torch")
    from trainer.backbones.registry import BACKBONES, OUTPUTS

    meanings = {key.name: key.meaning for key in recipe_keys()}
    words = meanings["backbone.name"].replace(",", " ").replace(";", " ").split()
    assert set(words) >= BACKBONES.keys()
    assert set(meanings["backbone.output"].replace(",", " ").replace(";", " ").split()) >= {
        *OUTPUTS
    }


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
        ("run.stops=1", r"unknown recipe key run\.stops \(did you mean run\.steps\?\)"),
        ("runs.steps=1", r"unknown recipe key runs \(did you mean run\?\)"),
        ("xyz.abc=1", r"unknown recipe key xyz \(`facewire-train recipes` explains all keys\)"),
        ("run.batch=1", r"recipe key run\.batch: input should be greater than or equal to 2"),
        ("head.loss=arcfase", r"recipe key head\.loss: input should be 'softmax', .* or 'distill'"),
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


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["head.m2=0.3"], ""),
        (
            ["head.loss=arcface", "head.scale=32"],
            r"head\.scale does nothing with head\.loss = arcf",
        ),
        (["head.loss=softmax", "head.sharded=true"], r"head\.sharded does nothing with head\.loss"),
        (["head.loss=triplet", "run.batch=30", "data.workers=4"], r"data\.workers does nothing"),
        (["head.loss=triplet", "run.batch=30", "head.centres=3"], r"head\.centres does nothing"),
        (["head.loss=genderage", "backbone.size=9"], r"backbone\.size does nothing .* 202 outputs"),
        (["head.teacher=sface"], r"head\.teacher does nothing with head\.loss = margin"),
        (["optimizer.lr_steps=[9]"], r"lr_steps does nothing with optimizer\.schedule = cosine"),
    ],
)
def test_a_setting_that_does_nothing_is_refused(settings, expected):
    if not expected:
        assert read_recipe("tiny", settings).head.m2 == 0.3
        return
    with pytest.raises(RecipeError, match=rf"--set .*{expected}"):
        read_recipe("tiny", settings)


def test_a_recipe_of_ones_own_with_a_key_that_does_nothing_is_refused(tmp_path):
    (tmp_path / "mine.toml").write_text('[head]\nloss = "arcface"\nscale = 32\n')
    with pytest.raises(RecipeError, match=r"recipe key head\.scale does nothing with head\.loss"):
        read_recipe(str(tmp_path / "mine.toml"))


def test_a_key_that_a_setting_makes_idle_is_mentioned(caplog):
    with caplog.at_level("INFO", "trainer.training.recipe"):
        read_recipe("tiny", ["head.loss=arcface"])
    assert sorted(caplog.messages) == [
        f"recipe key head.{name} does nothing with head.loss = arcface (head.loss = margin has it)"
        for name in ("m3", "scale")
    ]


def test_every_key_is_explained():
    keys = {key.name: key for key in recipe_keys()}
    assert keys.keys() == recipe_values(Recipe()).keys()
    assert all(len(key.meaning) > 4 for key in keys.values())
    assert {name: key.default for name, key in keys.items()} == recipe_values(Recipe())
    assert keys["optimizer.schedule"].kind == "steps|poly|cosine"
    assert (keys["optimizer.lr_steps"].kind, keys["run.batch"].kind) == ("list", "int")
    for loss in ("arcface", "softmax", "triplet", "distill", "genderage", "margin"):
        recipe = Recipe.model_validate({"head": {"loss": loss}, "run": {"batch": 30}})
        assert idle_keys(recipe).keys() <= keys.keys()


def test_every_recipe_is_explained():
    for name in recipe_names():
        assert len(recipe_summary(name)) > 30


def test_recipes_are_shown():
    everything = CliRunner().invoke(app, ["recipes"], catch_exceptions=False).stdout
    assert "tiny: Learns a few people on a CPU" in everything
    assert "run.batch = 128: images of one process in a batch; batch norm needs two" in everything
    assert "[int, 2 or more]" in everything
    for form in ("[float, above 0, up to 1]", "[int, 0 up to 2]", "[float, 0 to below 1]"):
        assert form in everything
    for section in Recipe.model_fields:
        assert re.search(rf"^\[{section}\] \w+", everything, re.MULTILINE)
    one = CliRunner().invoke(app, ["recipes", "tiny"], catch_exceptions=False).stdout
    assert "run.batch = 32 (default 128): images of one process in a batch" in one
    assert "head.teacher" not in one  # does nothing there
    facts = json.loads(CliRunner().invoke(app, ["recipes", "tiny", "--json"]).stdout)
    values = {key["name"]: key["value"] for key in facts["keys"]}
    assert (values["head.m3"], values["run.targets"]) == (0.1, [])
