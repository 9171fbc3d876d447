/** What can be told from outside about the inside socket of a process, at which `ebb/auto` answers. */
import fs from 'node:fs'
import { readUnixTable } from './proc-net.js'

const NAME = /^@ebb-inside-(\d+)$/
/** The module in a command line or in `NODE_OPTIONS`: by its name, or by the path of its file. */
const MODULE = /(?:^|[\0\s"'=/])ebb\/(?:auto|dist\/(?:cjs\/)?auto\.js)(?=$|[\0\s"'])/
const NODE_OPTIONS = /(?:^|\0)NODE_OPTIONS=([^\0]*)/

/** Returns the process id in the name of an inside socket, as its process sees it; null for any other name. */
export function insidePid(name: string): number | null {
  const pid = NAME.exec(name)?.[1]
  return pid === undefined ? null : Number(pid)
}

/** Returns a process id as the process itself sees it; as this process sees it if the kernel does not tell. */
export function innerPidOf(pid: number): number {
  return Number(/^NSpid:.*\t(\d+)$/m.exec(readAll(`/proc/${pid}/status`))?.[1] ?? pid)
}

/**
 * Whether a process has loaded `ebb/auto`, also where its inside socket cannot be reached: it has such a socket in its
 * own network namespace, or its command line or `NODE_OPTIONS` names the module.
 */
export function loadsAuto(pid: number): boolean {
  const [command, environment] = ['cmdline', 'environ'].map((name) => readAll(`/proc/${pid}/${name}`)) as [
    string,
    string
  ]
  return hasInsideSocket(pid) || MODULE.test(command) || MODULE.test(NODE_OPTIONS.exec(environment)?.[1] ?? '')
}

function hasInsideSocket(pid: number): boolean {
  const own = innerPidOf(pid)
  try {
    return readUnixTable(pid).some(({ listens, path }) => listens && insidePid(path) === own)
  } catch {
    return false
  }
}

/** Returns the text of a file; none if it cannot be read. */
function readAll(path: string): string {
  try {
    return fs.readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}
