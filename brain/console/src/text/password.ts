/** What the brain asks of a password, so that the form can say it before the brain does. */

export const PASSWORD_MIN = 12;

/** Why the passwords cannot be taken yet, or `null`. Characters are counted as people count them. */
export function passwordProblem(password: string, again: string): string | null {
  const missing = PASSWORD_MIN - [...password].length;
  if (missing > 0) return `${missing} more ${missing === 1 ? "character is" : "characters are"} needed.`;
  return password === again ? null : "The two passwords differ.";
}
