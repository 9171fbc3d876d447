/** Refuses options of which one would be ignored beside another. */
import { ValueError } from './values.js'

/** @throws ValueError if both `--json` and `--markdown` are given */
export function checkForm({ json, markdown }: { json?: boolean; markdown?: boolean }): void {
  if (json && markdown) throw new ValueError('--json and --markdown are two forms of one result: leave one of them out')
}
