/** The servers that several benchmarks start, and how to find out whether a server is installed. */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { CLI_PATH } from 'ebb-lab/testing'

/**
 * A server to measure.
 *
 * @typedef {object} Server
 * @property {string} id its name on the command line (`--only`)
 * @property {string} name its name in tables, at most 18 characters
 * @property {string} what one phrase for the list of servers
 * @property {string} install the name that `bench/install` knows it by
 * @property {readonly string[]} needs files, and programs in `PATH`, without which it cannot run
 * @property {readonly string[]} command `{port}` stands for the port to listen on
 * @property {() => string} version asks the installed program; throws if it is not installed
 * @property {number} [most] connections that it can hold; no limit if left out
 */

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/**
 * Returns the path of a file that `bench/install` fetched or built.
 *
 * @param {string} path below `bench/.peers/`
 */
export const installed = (path) => join(ROOT, 'bench/.peers', path)

/**
 * Returns the command of `ebb serve`.
 *
 * @param {string} node path of the Node that runs it
 */
export const ebbServe = (node) => [node, CLI_PATH, 'serve', '--port', '{port}']

/**
 * Returns the command of a plain `node:net` server.
 *
 * @param {string} node path of the Node that runs it
 */
export const nodeNet = (node) => [node, fileURLToPath(new URL('servers/net.mjs', import.meta.url)), '{port}']

/**
 * The lower bound of every figure: a C server that keeps nothing for a connection.
 *
 * @type {Server}
 */
export const C = {
  id: 'c',
  name: 'C, epoll',
  what: 'one thread, no memory per connection: the lower bound',
  install: 'c',
  needs: [installed('bin/epoll')],
  command: [installed('bin/epoll'), '{port}'],
  version: () => `gcc ${versionFrom('gcc', '-dumpfullversion')}`
}

/**
 * Explains in one sentence why a server cannot run on this machine. Returns undefined if it can.
 *
 * @param {Pick<Server, 'needs' | 'install'>} server
 */
export function missing({ needs, install }) {
  const lacking = needs.find((need) => find(need) === undefined)
  return lacking === undefined ? undefined : `${lacking.replace(ROOT, '')} is missing (run bench/install ${install})`
}

/**
 * Returns the path of a file or program, or undefined if there is none. Debian installs servers into /usr/sbin, which
 * is not in every user's `PATH`.
 *
 * @param {string} need
 */
export function find(need) {
  if (need.includes('/')) return existsSync(need) ? need : undefined
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin']
  return folders.map((folder) => join(folder, need)).find((path) => existsSync(path))
}

/**
 * Runs a program and returns the first version number in its output.
 *
 * @param {string} program
 * @param {readonly string[]} args
 */
export function versionFrom(program, ...args) {
  // Some programs print their version to standard error.
  return numberIn(execFileSync('sh', ['-c', 'exec "$@" 2>&1', 'sh', program, ...args], { encoding: 'utf8' }))
}

/**
 * Returns the first version number in a text. Throws if there is none.
 *
 * @param {string} text
 */
export function numberIn(text) {
  const [version] = /\d+(\.\d+)*/.exec(text) ?? []
  if (version === undefined) throw new Error(`no version number in ${JSON.stringify(text)}`)
  return version
}
