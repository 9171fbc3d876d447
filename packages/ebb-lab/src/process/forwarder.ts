/** Finds the server behind a process that only passes connections on to a container, such as docker-proxy. */
import fs from 'node:fs'
import { basename } from 'node:path'
import { processIds } from 'ebb/memory'
import { codeOf, RecordError } from '../units/errors.js'
import { commandOf } from './describe.js'
import { holdersOf, socketsOf, tcpListeners } from './sockets.js'

/** Programs that pass connections on, and do not tell where to. */
const FORWARDERS = new Set([
  'conmon',
  'gvproxy',
  'passt',
  'passt.avx2',
  'pasta',
  'pasta.avx2',
  'rootlessport',
  'rootlessport-child',
  'slirp4netns'
])

/**
 * Returns the processes that serve the connections which `pid` accepts on a port: the server in a container behind
 * docker-proxy, else `pid` itself.
 *
 * @throws RecordError (`EACCES`) if `pid` passes connections on and the server behind it cannot be found
 */
export function serversBehind(pid: number, port: number): number[] {
  const [program = '', ...args] = commandOf(pid) ?? []
  const name = basename(program)
  if (name === 'docker-proxy') {
    const to = { host: optionOf(args, 'container-ip'), port: Number(optionOf(args, 'container-port')) }
    const found = listenersIn(to)
    if (found.length > 0) return found
    throw new RecordError(
      `docker-proxy listens on port ${port} and passes connections on to ${to.host}:${to.port}, whose server is not ` +
        "visible here: run as root, or give its --pid (docker inspect --format '{{.State.Pid}}' CONTAINER)",
      'EACCES'
    )
  }
  if (!FORWARDERS.has(name)) return [pid]
  throw new RecordError(
    `${name} listens on port ${port} and passes connections on to a container: give the --pid of the server ` +
      "(podman inspect --format '{{.State.Pid}}' CONTAINER)",
    'EACCES'
  )
}

/** Returns the value of an option that is written as `-name value`, `-name=value`, or with two dashes. */
function optionOf(args: readonly string[], name: string): string {
  for (const [i, word] of args.entries()) {
    const [option, value] = word.replace(/^--?/, '').split('=', 2)
    if (option === name) return value ?? args[i + 1] ?? ''
  }
  return ''
}

/** Returns the processes that listen on an address of another network namespace. */
function listenersIn({ host, port }: { host: string; port: number }): number[] {
  for (const members of namespaces()) {
    const [first] = members
    if (first === undefined || !hasAddress(first, host)) continue
    const listeners = tcpListeners(first).filter((listener) => listener.port === port)
    const { pids } = holdersOf(socketsOf(listeners), members)
    if (pids.length > 0) return pids
  }
  return []
}

/** Returns the processes of each network namespace except this one. */
function namespaces(): number[][] {
  const own = namespaceOf('self')
  const byName = new Map<string, number[]>()
  for (const pid of processIds()) {
    const name = namespaceOf(pid)
    if (name === null || name === own) continue
    const members = byName.get(name)
    if (members === undefined) byName.set(name, [pid])
    else members.push(pid)
  }
  return [...byName.values()]
}

/** Returns the name of a process's network namespace: `net:[4026531840]`. Null if this user may not know it. */
export function namespaceOf(pid: number | 'self'): string | null {
  try {
    return fs.readlinkSync(`/proc/${pid}/ns/net`)
  } catch {
    return null
  }
}

/** Whether an address is one of a process's network namespace. */
function hasAddress(pid: number, host: string): boolean {
  const tables = host.includes(':') ? ['if_inet6'] : ['fib_trie']
  const wanted = host.includes(':') ? expanded(host) : host
  return tables.some((table) => {
    try {
      return fs.readFileSync(`/proc/${pid}/net/${table}`, 'latin1').split(/\s+/).includes(wanted)
    } catch (error) {
      // The process has ended, or the machine has no IPv6.
      if (['ENOENT', 'ESRCH', 'EINVAL', 'EACCES'].includes(codeOf(error))) return false
      throw error
    }
  })
}

/** Returns an IPv6 address as `if_inet6` writes it: 32 hexadecimal digits. */
function expanded(host: string): string {
  const [left = '', right = ''] = host.split('::')
  const [before, after] = [left, right].map((half) => half.split(':').filter((group) => group !== ''))
  const zeros = Array<string>(8 - (before?.length ?? 0) - (after?.length ?? 0)).fill('0')
  return [...(before ?? []), ...zeros, ...(after ?? [])].map((group) => group.padStart(4, '0')).join('')
}
