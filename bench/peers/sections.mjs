/** The parts of bench/RESULTS.md that other benchmarks measure. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { wrap } from '../harness/wrap.mjs'

/**
 * A part of the page that another benchmark measures.
 *
 * @typedef {object} Section
 * @property {string} id its name on the command line (`--only`), and that of its benchmark
 * @property {string} title
 * @property {string} about a sentence
 */

/** The heading that follows the sections. */
const BEFORE = '## The servers\n'
/** Columns of the page's prose. */
const WIDTH = 116

/** @type {readonly Section[]} */
export const SECTIONS = [
  {
    id: 'websocket',
    title: 'WebSockets',
    about: 'Each server holds 10,000 clients that are idle, then answers and closes them.'
  },
  {
    id: 'handover',
    title: 'Handovers',
    about:
      'A process hands over its connections to the next one, and `ebb run --keep` outlives a process that is killed.'
  }
]

/**
 * Runs the benchmark of a section, unless `folder` has its figures and `resume` is true. Rejects if it fails.
 *
 * @param {Section} section
 * @param {string} folder
 * @param {{ quick: boolean, resume: boolean, signal: AbortSignal }} options
 */
export async function measureSection({ id }, folder, { quick, resume, signal }) {
  const file = join(folder, `${id}.md`)
  if (resume && existsSync(file)) return
  mkdirSync(folder, { recursive: true })
  const unfinished = `${file}.unfinished`
  const main = fileURLToPath(new URL(`../${id}/main.mjs`, import.meta.url))
  // Its table goes to standard error, because that of the servers is the output of this benchmark.
  const child = spawn(process.execPath, [main, ...(quick ? ['--quick'] : [])], {
    env: { ...process.env, EBB_BENCH_PAGE: unfinished },
    stdio: ['ignore', 2, 2],
    signal
  })
  const [code, ended] = await once(child, 'close')
  if (code !== 0) {
    rmSync(unfinished, { force: true })
    throw new Error(`bench:${id} ended (${ended ?? code})`)
  }
  renameSync(unfinished, file)
}

/**
 * Returns a page with its sections: with the figures in `folder`, or else as `present`, the text of another page, has
 * them. A section of which there is neither is left out.
 *
 * @param {string} page
 * @param {string} folder
 * @param {string} [present]
 */
export function withSections(page, folder, present = '') {
  const sections = SECTIONS.map((section) => sectionOf(section, folder, present)).join('')
  const bare = SECTIONS.reduce((text, { id }) => {
    const block = blockOf(text, id)
    return block === undefined ? text : text.replace(`${block}\n\n`, () => '')
  }, page)
  return bare.replace(BEFORE, () => `${sections}${BEFORE}`)
}

/**
 * @param {Section} section
 * @param {string} folder
 * @param {string} present
 */
function sectionOf({ id, title, about }, folder, present) {
  const file = join(folder, `${id}.md`)
  if (!existsSync(file)) {
    const block = blockOf(present, id)
    return block === undefined ? '' : `${block}\n\n`
  }
  const introduction = wrap(`${about} \`npm run bench:${id}\` measured this on ${dayOf(file)}.`, WIDTH)
  const figures = readFileSync(file, 'utf8').trimEnd()
  return `${openOf(id)}\n## ${title}\n\n${introduction}\n\n${figures}\n${closeOf(id)}\n\n`
}

/**
 * Returns a section of a page with its marks, or undefined if there is none.
 *
 * @param {string} page
 * @param {string} id
 */
function blockOf(page, id) {
  const [from, to] = [page.indexOf(openOf(id)), page.indexOf(closeOf(id))]
  return from < 0 || to < from ? undefined : page.slice(from, to + closeOf(id).length)
}

const openOf = (/** @type {string} */ id) => `<!-- bench:${id} -->`
const closeOf = (/** @type {string} */ id) => `<!-- /bench:${id} -->`

/** @param {string} file */
function dayOf(file) {
  return statSync(file).mtime.toISOString().slice(0, 10)
}
