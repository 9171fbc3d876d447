/** Reads the file of a box, which is YAML (JSON is a subset of it). */
import { readFileSync } from 'node:fs'
import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml'
import { messageOf, reasonOf } from '../../units/errors.js'
import { expand } from './expand.js'
import { BoxFileError, Mistakes, type ValuePath } from './mistakes.js'
import type { BoxPlan } from './plan.js'
import { type BoxFile, fileSchema, issuesOf, type VariantKeys } from './schema.js'

export { BoxFileError } from './mistakes.js'
export type { BoxPlan, ServerPlan, Variant } from './plan.js'

/**
 * Reads and checks the file of a box. Paths in it are relative to the folder of the file.
 *
 * @param file path of the file
 * @param duration length of a run in ms; it takes precedence over `duration` of the file
 * @throws BoxFileError (`ERR_BOX_INVALID`) if the file cannot be read or is invalid; the message lists the mistakes
 *   with their lines
 */
export function readBoxFile(file: string, duration?: number): BoxPlan {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new BoxFileError(`cannot read ${file}: ${reasonOf(error)}`, { cause: error })
  }
  return parseBoxFile(text, file, duration)
}

/**
 * Checks the text of a box's file. See {@link readBoxFile}.
 *
 * @param file path of the file, for messages and relative paths
 */
export function parseBoxFile(text: string, file: string, duration?: number): BoxPlan {
  const lines = new LineCounter()
  // `merge` allows `<<`, which people know from Docker Compose.
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, merge: true })
  const mistakes = new Mistakes(file, (path) => lines.linePos(offsetOf(document.contents, path)).line)
  for (const { code, message, pos } of document.errors) {
    mistakes.add(
      lines.linePos(pos[0]).line,
      code === 'MULTIPLE_DOCS'
        ? 'another YAML document begins here: a box must be a single document'
        : `${message}: check the indentation, the quotes and the brackets around this line`
    )
  }
  mistakes.throwIfAny()
  if (document.contents === null) throw new BoxFileError(`${file} is empty: a box needs servers`)
  let value: unknown
  try {
    value = document.toJS()
  } catch (error) {
    throw new BoxFileError(`${file}: ${messageOf(error)}`, { cause: error })
  }
  const parsed = fileSchema.safeParse(value)
  for (const { path, message } of parsed.error === undefined ? [] : issuesOf(parsed.error))
    mistakes.addAt(path, message)
  mistakes.throwIfAny()
  const box = parsed.data as BoxFile
  return expand(box, variantsInOrder(box, document), { file, mistakes, duration })
}

/**
 * Returns the variants in the order of the file. JavaScript would put keys that are numbers (`22: {}`, a version of
 * Node) first.
 */
function variantsInOrder({ variants }: BoxFile, document: Document): [name: string, keys: VariantKeys][] | undefined {
  if (variants === undefined) return undefined
  const node = document.get('variants', true)
  const map: unknown = isAlias(node) ? node.resolve(document) : node
  const names = isMap(map) ? map.items.map(({ key }) => (isScalar(key) ? String(key.value) : '')) : []
  const indexOf = (name: string): number => {
    const index = names.indexOf(name)
    // Variants that come from a merge (`<<`) are last.
    return index === -1 ? names.length : index
  }
  return Object.entries(variants).sort(([a], [b]) => indexOf(a) - indexOf(b))
}

/** Returns the offset of a value's key in the text, or of the nearest value around it that the text has. */
function offsetOf(contents: Node | null, path: ValuePath): number {
  let node: unknown = contents
  let offset = contents?.range?.[0] ?? 0
  for (const key of path) {
    // The contents of an alias stand elsewhere in the text, so the offset of the alias is the nearest one.
    if (isAlias(node)) return offset
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(key))
      if (pair === undefined) return offset
      offset = (pair.key as Node).range?.[0] ?? offset
      node = pair.value
    } else if (isSeq(node)) {
      node = node.items[Number(key)]
      offset = (node as Node | undefined)?.range?.[0] ?? offset
    } else return offset
  }
  return offset
}
