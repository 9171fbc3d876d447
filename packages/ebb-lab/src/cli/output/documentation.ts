/** Where the documentation is that the package contains. */
import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Returns the path of a page, relative to the working directory if it is below it: `reference/cli.md`. */
export function documentation(page: string): string {
  const path = fileURLToPath(new URL(`../../../docs/${page}`, import.meta.url))
  const below = relative(process.cwd(), path)
  return below.startsWith('..') ? path : below
}
