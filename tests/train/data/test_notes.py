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
        ("Maculopatia diabética leve.", ""),
        ("RDNP leve", ""),
        ("severe npdr od.", ""),
        ("BDR OU, no CSME.", ""),
        ("Diabetic-retinopathy present.", ""),
        ("Diabetic\nretinopathy. Clear media.", "Clear media."),
        ("Edema macular diabético OE. Catarata.", "Catarata."),
        ("Edema macular secundário a diabetes.", ""),
        ("Retinopatia leve. Meios claros.", "Meios claros."),
        ("Retinopatia hipertensiva grau 1 ausente.", ""),
        ("Retinopatia hipertensiva. Drusas.", "Retinopatia hipertensiva. Drusas."),
        ("Hypertensive retinopathy and mild retinopathy of diabetes.", ""),
        ("Retinopathy of prematurity. Clear.", "Retinopathy of prematurity. Clear."),
        ("Age-related maculopathy.", "Age-related maculopathy."),
        ("R2 M1. Clear media.", "Clear media."),
        ("R1M0", ""),
        ("Grade 3 both eyes. Cup 0.3.", "Cup 0.3."),
        ("No dr seen", ""),
        ("Moderate Dr. Clear media.", ""),
        ("N.P.D.R. moderate", ""),
        ("N-PDR OD", ""),
        ("Clinically significant DME", ""),
        ("Non-proliferative changes. Drusen.", "Drusen."),
        ("No CSME. Moderate OD, severe OS.", ""),
        ("Paciente diabética há 10 anos. Meios claros.", "Paciente diabética há 10 anos. Meios claros."),
        ("Diabetes mellitus type 2. Hard exudates.", "Diabetes mellitus type 2. Hard exudates."),
        ("Diabetic changes at the macula.", ""),
        ("Diabetic maculopathy, MODERATE.", ""),
        ("Encaminhado pela Dra. Souza. Drusas.", "Encaminhado pela Dra. Souza. Drusas."),
        ("Severe cataract. Moderate myopia.", "Severe cataract. Moderate myopia."),
        ("Retinal detachment. Macular hole.", "Retinal detachment. Macular hole."),
        ("Neovascularization elsewhere", ""),
    ],
)
def test_sentences_that_name_retinopathy_are_dropped(note: str, kept: str) -> None:
    assert without_dr(note) == kept
