/** The name of the inside socket, and the version of its protocol. */

/** Version of questions and answers. An answer may get new fields without a new version. */
export const VERSION = 1

/** Most bytes of a question, its end of line included. */
export const LONGEST_QUESTION = 1024

/**
 * Returns the name of a process's inside socket, in the abstract namespace of Unix sockets.
 *
 * @param pid as the process itself sees it: in a container, often 1
 */
export function insideName(pid: number): string {
  return `ebb-inside-${pid}`
}
