import { endChildren } from './child.mjs'
import { firstLineOf } from './errors.mjs'

/**
 * Runs the parts of a benchmark one after the other and resolves with their rows. If a part fails, prints the error,
 * adds the row that `failed` returns, and continues with the next part.
 *
 * @template {string} N
 * @template R
 * @param {readonly N[]} names
 * @param {Readonly<Record<N, () => Promise<readonly R[]>>>} parts
 * @param {(name: N, note: string) => R} failed
 * @param {() => Promise<unknown>} [cleanUp] ends what a part has left running, besides its children
 */
export async function runParts(names, parts, failed, cleanUp) {
  /** @type {R[]} */
  const rows = []
  for (const name of names) {
    console.error(name)
    try {
      rows.push(...(await parts[name]()))
    } catch (error) {
      console.error(error)
      rows.push(failed(name, `failed: ${firstLineOf(error)}`))
    } finally {
      await cleanUp?.()
      await endChildren()
    }
  }
  return rows
}
