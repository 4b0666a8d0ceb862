"""Notes made of flags, and notes that no longer name the label."""

from __future__ import annotations

import pytest

from foveal_train.data.notes import SENTENCES, Finding, note_of, without_dr


def test_every_flag_has_a_sentence_and_none_means_no_note() -> None:
    assert set(SENTENCES) == set(Finding)
    assert len(set(SENTENCES.values())) == 13
    assert note_of([]) == ""
    everything = note_of(list(reversed(Finding)))
    assert everything.startswith("Diabetic retinopathy is present. Macular edema is present.")
    assert everything.count(".") == 13


def test_only_the_label_leaves_a_note_of_flags() -> None:
    kept = without_dr(note_of(list(Finding)))
    assert kept == note_of([f for f in Finding if f is not Finding.DIABETIC_RETINOPATHY])
    assert "Hypertensive retinopathy is present." in kept


@pytest.mark.parametrize(
    ("note", "kept"),
    [
        ("Moderate NPDR in both eyes. Clear media.", "Clear media."),
        ("PDR with NVD", ""),
        ("Diabetic maculopathy. Cataract.", "Cataract."),
        ("Proliferative retinopathy; laser done. Follow up.", "laser done. Follow up."),
        ("Retinopatia diabética leve.", ""),
        ("Seen by Dr. Smith. No haemorrhage.", "Seen by Dr. Smith. No haemorrhage."),
        ("Moderate DR. Clear media.", "Clear media."),
        ("Macular edema is present.", "Macular edema is present."),
        ("Known diabetic for ten years.", "Known diabetic for ten years."),
        ("", ""),
    ],
)
def test_sentences_that_name_retinopathy_are_dropped(note: str, kept: str) -> None:
    assert without_dr(note) == kept
