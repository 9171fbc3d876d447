/**
 * Machines, as far as the kernel can pretend: network namespaces on one bridge. Each has addresses, ports and a loopback of its own;
 * processor, memory and clock are shared.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

const ESTABLISHED = '01'

/** Why there can be none here; undefined: there can. */
export function missing() {
  if (process.getuid?.() !== 0) return 'network namespaces are made by root'
  const name = `ebb-${process.pid}-try`
  try {
    ip('netns', 'add', name)
  } catch (error) {
    return error.code === 'ENOENT'
      ? 'there is no ip (apt-get install iproute2)'
      : `this kernel has no network namespaces: ${error.message.trim()}`
  }
  try {
    ip('link', 'add', `e${process.pid}try`, 'type', 'bridge')
    ip('link', 'del', `e${process.pid}try`)
    return undefined
  } catch (error) {
    return `this kernel has no bridges: ${error.message.trim()}`
  } finally {
    ip('netns', 'del', name)
  }
}

export class Namespaces {
  #prefix = `ebb-${process.pid}`
  #bridge = `e${process.pid}`
  #net = `10.77.${process.pid % 250}`
  #names = []

  constructor() {
    ip('link', 'add', this.#bridge, 'type', 'bridge')
    ip('addr', 'add', `${this.#net}.1/24`, 'dev', this.#bridge)
    ip('link', 'set', this.#bridge, 'up')
  }

  /** The root namespace, as the others see it. */
  get root() {
    return `${this.#net}.1`
  }

  get network() {
    return `${this.#net}.0/24`
  }

  /** Another machine, of five at most, with so many addresses, 40 at most. */
  add(addresses = 1) {
    const number = this.#names.length + 1
    const name = `${this.#prefix}-${number}`
    const [outside, inside] = [`${this.#bridge}o${number}`, `${this.#bridge}i${number}`]
    ip('netns', 'add', name)
    this.#names.push(name)
    ip('link', 'add', outside, 'type', 'veth', 'peer', 'name', inside)
    ip('link', 'set', inside, 'netns', name)
    ip('link', 'set', outside, 'master', this.#bridge, 'up')
    const given = Array.from({ length: addresses }, (_, i) => `${this.#net}.${40 * number + i}`)
    for (const address of given) ip('-n', name, 'addr', 'add', `${address}/24`, 'dev', inside)
    ip('-n', name, 'link', 'set', inside, 'up')
    ip('-n', name, 'link', 'set', 'lo', 'up')
    return { name, addresses: given, outside, command: (...command) => ['ip', 'netns', 'exec', name, ...command] }
  }

  /** Nothing gets to the machine, nor from it, and nobody is told; until it is connected again. */
  connect({ outside }, connected) {
    ip('link', 'set', outside, connected ? 'up' : 'down')
  }

  /** Connections that are open to or from a port, in every namespace. */
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

  /** Processes in a namespace, or in all. */
  pids(name) {
    const names = name === undefined ? this.#names : [name]
    return names.flatMap((one) => ip('netns', 'pids', one).split('\n').filter(Boolean).map(Number))
  }

  dispose() {
    for (const name of this.#names) {
      for (const pid of this.pids(name)) process.kill(pid, 'SIGKILL')
      ip('netns', 'del', name)
    }
    ip('link', 'del', this.#bridge)
  }
}

function ip(...args) {
  return run('ip', ...args)
}

function run(program, ...args) {
  return execFileSync(program, args, { encoding: 'latin1', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 1 << 27 })
}
