/**
 * Network namespaces on one bridge, which act as machines: each has addresses, ports and a loopback of its own. They
 * share the processor, memory and clock.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { messageOf } from '../harness/errors.mjs'

/** State of a TCP connection in `/proc/net/tcp`. */
const ESTABLISHED = '01'
/** Addresses that each machine may have. */
const MOST_ADDRESSES = 40
/** Bytes of a command's output: `/proc/net/tcp` is long. */
const OUTPUT = 1 << 27

/**
 * A machine.
 *
 * @typedef {object} Machine
 * @property {string} name
 * @property {readonly string[]} addresses
 * @property {string} outside name of its network interface in the root namespace
 * @property {(...command: string[]) => string[]} command returns the command that runs `command` on the machine
 */

/** Explains in one sentence why namespaces cannot be made here. Returns undefined if they can. */
export function missing() {
  if (process.getuid?.() !== 0) return 'network namespaces are made by root'
  const name = `ebb-${process.pid}-try`
  try {
    ip('netns', 'add', name)
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ENOENT'
      ? 'there is no ip (apt-get install iproute2)'
      : `this kernel has no network namespaces: ${messageOf(error).trim()}`
  }
  try {
    ip('link', 'add', `e${process.pid}try`, 'type', 'bridge')
    ip('link', 'del', `e${process.pid}try`)
    return undefined
  } catch (error) {
    return `this kernel has no bridges: ${messageOf(error).trim()}`
  } finally {
    ip('netns', 'del', name)
  }
}

export class Namespaces {
  #prefix = `ebb-${process.pid}`
  #bridge = `e${process.pid}`
  #net = `10.77.${process.pid % 250}`
  /** @type {string[]} */
  #names = []

  constructor() {
    ip('link', 'add', this.#bridge, 'type', 'bridge')
    ip('addr', 'add', `${this.#net}.1/24`, 'dev', this.#bridge)
    ip('link', 'set', this.#bridge, 'up')
  }

  /** The address of the root namespace, as the machines see it. */
  get root() {
    return `${this.#net}.1`
  }

  get network() {
    return `${this.#net}.0/24`
  }

  /**
   * Adds a machine, at most five.
   *
   * @param {number} [addresses] at most 40
   * @returns {Machine}
   */
  add(addresses = 1) {
    const number = this.#names.length + 1
    const name = `${this.#prefix}-${number}`
    const [outside, inside] = [`${this.#bridge}o${number}`, `${this.#bridge}i${number}`]
    ip('netns', 'add', name)
    this.#names.push(name)
    ip('link', 'add', outside, 'type', 'veth', 'peer', 'name', inside)
    ip('link', 'set', inside, 'netns', name)
    ip('link', 'set', outside, 'master', this.#bridge, 'up')
    const own = Array.from({ length: addresses }, (_, i) => `${this.#net}.${MOST_ADDRESSES * number + i}`)
    for (const address of own) ip('-n', name, 'addr', 'add', `${address}/24`, 'dev', inside)
    ip('-n', name, 'link', 'set', inside, 'up')
    ip('-n', name, 'link', 'set', 'lo', 'up')
    return { name, addresses: own, outside, command: (...command) => ['ip', 'netns', 'exec', name, ...command] }
  }

  /**
   * Connects a machine to the network or disconnects it. No packet passes while it is disconnected, and neither side is
   * notified.
   *
   * @param {Machine} machine
   * @param {boolean} connected
   */
  connect({ outside }, connected) {
    ip('link', 'set', outside, connected ? 'up' : 'down')
  }

  /**
   * Returns the number of open connections to or from a port, in all namespaces.
   *
   * @param {number} port
   */
  established(port) {
    const hex = port.toString(16).toUpperCase().padStart(4, '0')
    const open = new RegExp(`^ *\\d+: (?:\\S+:${hex} \\S+|\\S+ \\S+:${hex}) ${ESTABLISHED} `, 'gm')
    return this.#names.reduce((sum, name) => {
      const [pid] = this.pids(name)
      const table =
        pid === undefined
          ? run('ip', 'netns', 'exec', name, 'cat', '/proc/net/tcp')
          : readFileSync(`/proc/${pid}/net/tcp`, 'latin1')
      return sum + (table.match(open)?.length ?? 0)
    }, 0)
  }

  /**
   * Returns the processes of a namespace, or of all.
   *
   * @param {string} [name]
   */
  pids(name) {
    const names = name === undefined ? this.#names : [name]
    return names.flatMap((one) => ip('netns', 'pids', one).split('\n').filter(Boolean).map(Number))
  }

  /** Kills all processes in the namespaces and removes the namespaces. */
  dispose() {
    for (const name of this.#names) {
      for (const pid of this.pids(name)) process.kill(pid, 'SIGKILL')
      ip('netns', 'del', name)
    }
    ip('link', 'del', this.#bridge)
  }
}

/** @param {readonly string[]} args */
function ip(...args) {
  return run('ip', ...args)
}

/**
 * @param {string} program
 * @param {readonly string[]} args
 */
function run(program, ...args) {
  return execFileSync(program, args, { encoding: 'latin1', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: OUTPUT })
}
