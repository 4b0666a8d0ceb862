/** Names of the contract's numbers, in words. */
import { t, type Key } from "./strings";

const GRADES = ["NO_RETINOPATHY", "MILD", "MODERATE", "SEVERE", "PROLIFERATIVE"];

/** 0 to 4, or -1 for none. */
export const gradeNumber = (icdr: string): number => GRADES.indexOf(icdr.replace("ICDR_GRADE_", ""));

export function gradeWords(icdr: string): string {
  const number = gradeNumber(icdr);
  return number < 0 ? t("grade.unspecified") : `${number}, ${t(`grade.${number}` as Key)}`;
}

export function eyeWords(eye: string): string {
  if (eye === "EYE_RIGHT") return t("eye.right");
  return eye === "EYE_LEFT" ? t("eye.left") : t("eye.unknown");
}

/** What is to be done, and the class of its colour: anything that is not a plain "no" looks like a warning. */
export function referralWords(referral: string): [string, "refer" | "not" | "withheld"] {
  if (referral === "REFERRAL_REFER") return [t("verdict.refer"), "refer"];
  if (referral === "REFERRAL_NOT_REFERABLE") return [t("verdict.not"), "not"];
  return [t("verdict.undecided"), "withheld"];
}
