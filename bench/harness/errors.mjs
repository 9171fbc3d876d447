/**
 * Returns the message of whatever was thrown.
 *
 * @param {unknown} error
 */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error)
}

/**
 * Returns the first line of the message of whatever was thrown.
 *
 * @param {unknown} error
 */
export function firstLineOf(error) {
  return messageOf(error).split('\n', 1)[0] ?? ''
}
