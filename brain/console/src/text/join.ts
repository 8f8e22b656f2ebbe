/** The command that makes a host join. */

/** The port on which a brain listens for sensors unless it is told otherwise. */
const QUIC_PORT = 7443;

/** Where sensors most likely reach the brain, from how this console was reached. */
export function brainAddress(hostname: string): string {
  return `${hostname}:${QUIC_PORT}`;
}

/** Quotes a word for a shell, unless it is plainly harmless. */
function quoted(word: string): string {
  return /^[A-Za-z0-9._:[\]/-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

export function joinCommand(address: string, token: string): string {
  return `sudo sakuramori-sensor run --brain ${quoted(address)} --join ${quoted(token)}`;
}
