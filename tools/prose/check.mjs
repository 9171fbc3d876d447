/**
 * `npm run prose`: finds lines of prose that are wider than 120 columns, in Markdown and in the comments of files that
 * Oxlint does not read (shell, YAML, C, Go, Rust, Java, Erlang). Comments of TypeScript and JavaScript are the rule
 * `ebb/comment-width`. Tables, code blocks, HTML and words that cannot be broken may be wider.
 *
 * `node tools/prose/check.mjs [FILE...]` reads these files in place of all that Git tracks. Exit code 1 if a line is
 * too wide.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { basename, extname } from 'node:path'
import { isTooWide, WIDTH } from './width.mjs'

const COMMENT = { hash: /^\s*#/, slashes: /^\s*(?:\/\/|\/?\*)/, percent: /^\s*%/ }
const COMMENTS_OF = {
  '.sh': COMMENT.hash,
  '.yml': COMMENT.hash,
  '.yaml': COMMENT.hash,
  '.toml': COMMENT.hash,
  '.conf': COMMENT.hash,
  '.cfg': COMMENT.hash,
  '.c': COMMENT.slashes,
  '.go': COMMENT.slashes,
  '.rs': COMMENT.slashes,
  '.java': COMMENT.slashes,
  '.erl': COMMENT.percent
}

const files = process.argv.length > 2 ? process.argv.slice(2) : tracked()
const found = files.flatMap((file) =>
  tooWide(file).map(({ line, columns }) => `${file}:${line}: ${columns} columns, at most ${WIDTH}`)
)
for (const text of found) console.error(text)
if (found.length > 0) process.exitCode = 1

/** Files that Git tracks or would track, without deleted ones. */
function tracked() {
  return execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { encoding: 'utf8' })
    .split('\n')
    .filter((file) => file !== '' && existsSync(file))
}

/** The lines of a file that are too wide. */
function tooWide(file) {
  const select = selectorOf(file)
  if (select === undefined) return []
  return readFileSync(file, 'utf8')
    .split('\n')
    .map((text, index) => ({ text, line: index + 1, columns: [...text].length }))
    .filter(({ text }) => select(text) && isTooWide(text))
}

/** Returns a function that says of each line, in order, whether it is prose; undefined for files without prose. */
function selectorOf(file) {
  const extension = extname(file)
  if (extension === '.md') return markdown()
  const comment = COMMENTS_OF[extension]
  if (comment) return (text) => comment.test(text)
  if (extension !== '' || basename(file).startsWith('.')) return undefined
  // A script without an extension says in its first line what it is.
  return readFileSync(file, 'utf8').startsWith('#!') ? (text) => COMMENT.hash.test(text) : undefined
}

function markdown() {
  let fence
  return (text) => {
    const mark = /^\s*(?:[-*]\s+)?(```+|~~~+)/.exec(text)?.[1]
    if (fence !== undefined) {
      if (mark?.startsWith(fence)) fence = undefined
      return false
    }
    fence = mark
    // Tables, HTML, and definitions of links.
    return mark === undefined && !/^\s*(?:\||<|\[[^\]]+\]:)/.test(text)
  }
}
