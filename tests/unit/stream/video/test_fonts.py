import shutil
import subprocess
import threading

import cv2
import numpy as np
import pytest

from stream.video import fonts
from stream.video.fonts import font_for

OWN_SCRIPTS = ["Zoë Ünal", "Грета", "Αλέξης", "美羽", "דוד", "محمد", "Who?  0.71  5 s", ""]
OTHERS = {"Georgian": "გიორგი", "Hindi": "राम", "Thai": "สมชาย"}


def drawn(text: str, font: cv2.FontFace) -> bytes:
    canvas = np.zeros((60, 300, 3), np.uint8)
    cv2.putText(canvas, text, (10, 40), (255, 255, 255), font, 30)
    return canvas.tobytes()


def is_installed(text: str) -> bool:
    if shutil.which("fc-list") is None:
        return False
    charset = " ".join(f"{ord(each):x}" for each in text + "0123456789")
    found = subprocess.run(
        ["fc-list", f":charset={charset}", "file"], capture_output=True, text=True, check=True
    )
    return any(".ttc" not in line for line in found.stdout.splitlines())


@pytest.mark.parametrize("text", OWN_SCRIPTS)
def test_opencvs_own_font_is_used_where_it_can(text: str) -> None:
    assert font_for(text).getName() == "sans"


@pytest.mark.parametrize("script", OTHERS)
def test_other_scripts_are_drawn_by_an_installed_font(script: str) -> None:
    text = OTHERS[script]
    question_marks = drawn(text, cv2.FontFace("sans"))
    font = font_for(f"{text}  0123456789")
    assert (drawn(text, font) != question_marks) is is_installed(text)


def test_without_fontconfig_there_are_question_marks_and_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    fonts._installed.cache_clear()
    assert font_for("ქეთი").getName() == "sans"
    fonts._installed.cache_clear()


def test_each_thread_draws_with_its_own() -> None:
    found = [font_for("Ada")]
    thread = threading.Thread(target=lambda: found.append(font_for("Ada")))
    thread.start()
    thread.join()
    assert found[0] is font_for("Ada")
    assert found[0] is not found[1]
