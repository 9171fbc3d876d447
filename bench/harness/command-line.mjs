/** The command line of every benchmark: its options, its help text, and how it refuses wrong input. */
import { parseArgs } from 'node:util'
import { messageOf } from './errors.mjs'
import { wrap } from './wrap.mjs'

/** Exit code of a program that Ctrl-C or SIGTERM ended. */
export const INTERRUPTED = 130
/** Columns of the help text. */
const WIDTH = 100

/**
 * An option of the command line.
 *
 * @template T
 * @typedef {object} Option
 * @property {string | undefined} argument name of its value in the help text; undefined for a flag
 * @property {string} help what it does, and its default
 * @property {(text: string | undefined) => T} read converts the text on the command line, undefined if the option was
 *   not given; throws an error whose message is one sentence
 */

/**
 * The values of a set of options, by name.
 *
 * @template {Record<string, Option<unknown>>} O
 * @typedef {{ [K in keyof O]: ReturnType<O[K]['read']> }} Values
 */

/**
 * What a benchmark tells in its help text.
 *
 * @template {Record<string, Option<unknown>>} O
 * @typedef {object} Program
 * @property {string} script its name in package.json, for instance `bench:gate`
 * @property {string} about what it measures, what it needs, how long it takes
 * @property {O} options
 * @property {string} exit its exit codes
 */

/**
 * Reads the command line. Prints the help text and ends the process with exit code 0 for `--help` (`-h`). Prints one
 * sentence and ends the process with exit code 1 for an option that does not exist or has a wrong value.
 *
 * @template {Record<string, Option<unknown>>} O
 * @param {Program<O>} program
 * @returns {Values<O>}
 */
export function readCommandLine(program) {
  try {
    const { help, ...given } = parseArgs({
      options: {
        ...Object.fromEntries(
          Object.entries(program.options).map(([name, { argument }]) => [
            name,
            { type: argument === undefined ? /** @type {const} */ ('boolean') : /** @type {const} */ ('string') }
          ])
        ),
        help: { type: 'boolean', short: 'h' }
      }
    }).values
    if (help) {
      console.log(helpOf(program))
      process.exit(0)
    }
    return /** @type {Values<O>} */ (
      Object.fromEntries(Object.entries(program.options).map(([name, { read }]) => [name, read(textOf(given, name))]))
    )
  } catch (error) {
    // Node adds advice about positional arguments in sentences of its own.
    const sentence = messageOf(error).split('. ', 1)[0]
    return fail(`${program.script}: ${sentence} (npm run ${program.script} -- --help lists the options)`)
  }
}

/**
 * Prints a sentence to standard error and ends the process.
 *
 * @param {string} sentence
 * @param {number} code
 * @returns {never}
 */
export function fail(sentence, code = 1) {
  console.error(sentence)
  process.exit(code)
}

/**
 * An option without a value, false by default.
 *
 * @param {string} help
 * @returns {Option<boolean>}
 */
export function flag(help) {
  return { argument: undefined, help, read: (text) => text !== undefined }
}

/**
 * An option whose value is any text.
 *
 * @template {string | undefined} D
 * @param {string} argument
 * @param {string} help
 * @param {D} initial
 * @returns {Option<string | D>}
 */
export function text(argument, help, initial) {
  return { argument, help, read: (given) => given ?? initial }
}

/**
 * An option whose value is a whole number from 1.
 *
 * @template {number | undefined} D
 * @param {string} name of the option, with its dashes
 * @param {string} argument
 * @param {string} help
 * @param {D} initial
 * @returns {Option<number | D>}
 */
export function count(name, argument, help, initial) {
  const read = (/** @type {string | undefined} */ given) => {
    if (given === undefined) return initial
    const n = given === '' ? Number.NaN : Number(given)
    if (!Number.isInteger(n) || n < 1)
      throw new Error(`${name} must be a whole number from 1, not ${JSON.stringify(given)}`)
    return n
  }
  return { argument, help, read }
}

/**
 * An option whose value is a comma-separated selection from a list; undefined if it was not given.
 *
 * @template {string} N
 * @param {string} argument
 * @param {string} help
 * @param {string} thing what the names stand for, for instance `server`
 * @param {readonly N[]} names
 * @returns {Option<readonly N[] | undefined>}
 */
export function selection(argument, help, thing, names) {
  const read = (/** @type {string | undefined} */ given) => {
    const chosen = given?.split(',').map((name) => name.trim())
    const unknown = chosen?.filter((name) => !names.some((known) => known === name)) ?? []
    if (unknown.length > 0) throw new Error(`no such ${thing}: ${unknown.join(', ')}; there are ${names.join(', ')}`)
    return chosen?.flatMap((name) => names.filter((known) => known === name))
  }
  return { argument, help, read }
}

/**
 * @param {Readonly<Record<string, unknown>>} given
 * @param {string} name
 */
function textOf(given, name) {
  const value = given[name]
  // A flag that was given is the boolean true.
  return value === undefined ? undefined : String(value)
}

/** @param {Program<Record<string, Option<unknown>>>} program */
function helpOf({ script, about, options, exit }) {
  const lines = [...Object.entries(options), /** @type {const} */ (['help', flag('Print this text.')])].map(
    ([name, { argument, help }]) => ({ option: argument === undefined ? `--${name}` : `--${name} ${argument}`, help })
  )
  const width = Math.max(...lines.map(({ option }) => option.length))
  const indent = ' '.repeat(width + 4)
  return [
    `Usage: npm run ${script} -- [options]`,
    ...about.split('\n\n').map((paragraph) => wrap(paragraph, WIDTH)),
    lines.map(({ option, help }) => `  ${option.padEnd(width)}  ${wrap(help, WIDTH, indent).trimStart()}`).join('\n'),
    wrap(exit, WIDTH)
  ].join('\n\n')
}
