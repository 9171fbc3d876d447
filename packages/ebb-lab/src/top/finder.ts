/** Finds the processes of a box and what they listen on. */
import fs from 'node:fs'
import path from 'node:path'
import { processIds, readStat } from 'ebb/memory'
import { commandOf, isWrapper, nameOf } from '../process/describe.js'
import { namespaceOf } from '../process/forwarder.js'
import { innerPidOf } from '../process/inside-socket.js'
import { socketLinks } from '../process/sockets.js'
import type { Endpoint, OtherNamespace } from './endpoints.js'
import { groupServers, type Member } from './groups.js'

/** A process that was found. */
export interface FoundProcess extends Member {
  name: string
  /** Command line for filters. */
  command: string
  /** Clock ticks from boot to its start. */
  startTime: number
  /** Network namespace if it is another than this process's own. */
  namespace: string | undefined
  /** Process id as the process itself sees it. Another one than `pid` in a container. */
  innerPid: number
  /** Endpoints that it listens on, by their key. */
  endpoints: ReadonlyMap<string, Endpoint>
}

/** Share of CPU time that looking into processes may take. */
const SCAN_SHARE = 0.004
/** A process is looked into again until it is this old, ms, because servers do not listen at once. */
const YOUNG = 10_000
/** Time after which all processes are looked into again, ms: one may have been given a socket of another. */
const SCAN_ALL = 60_000
/** `PF_KTHREAD` of the kernel's `include/linux/sched.h`. */
const KERNEL_THREAD = 0x00200000

/** A process that is known, whether it listens or not. */
interface Known extends FoundProcess {
  foundAt: number
  /** Endpoints by link as of the last look into the process. */
  links: string[]
}

/**
 * Knows which processes listen. Looks into new processes only, and into all of them if an address appears that no known
 * process has, because listing the descriptors of a server with many connections takes long.
 */
export class Finder {
  readonly #chosen: ReadonlySet<number>
  readonly #own = namespaceOf('self')
  readonly #known = new Map<number, Known>()
  /** Links that no process was seen to have at the last look into all processes. */
  #unclaimed = new Set<string>()
  #nextScan = Number.NEGATIVE_INFINITY
  #nextScanOfAll = Number.NEGATIVE_INFINITY
  #servers: FoundProcess[][] = []
  #signature = ''

  /** @param chosen processes to show although they do not listen */
  constructor(chosen: readonly number[] = []) {
    this.#chosen = new Set(chosen)
  }

  /** Network namespaces of known processes other than the own one. */
  get otherNamespaces(): OtherNamespace[] {
    const found = new Map<string, OtherNamespace>()
    for (const { namespace, pid } of this.#known.values()) {
      if (namespace !== undefined && !found.has(namespace)) found.set(namespace, { name: namespace, pid })
    }
    return [...found.values()]
  }

  /** Learns which processes run, and forgets those that have ended. To be called before {@link find}. */
  list(now: number): void {
    const running = new Set(processIds())
    for (const pid of this.#known.keys()) if (!running.has(pid)) this.#known.delete(pid)
    for (const pid of running) {
      if (this.#known.has(pid)) continue
      const found = this.#describe(pid, now)
      if (found !== undefined) this.#known.set(pid, found)
    }
  }

  /** Number of links whose processes this user may not inspect. */
  hidden(byLink: ReadonlyMap<string, Endpoint>): number {
    return [...this.#unclaimed].filter((link) => byLink.get(link)?.listen.type === 'tcp').length
  }

  /** Returns the servers: see {@link groupServers}. The same array as before if nothing has changed. */
  find(byLink: ReadonlyMap<string, Endpoint>, now: number): FoundProcess[][] {
    if (now >= this.#nextScan) {
      const before = process.cpuUsage()
      this.#scan(byLink, now)
      const { user, system } = process.cpuUsage(before)
      this.#nextScan = now + (user + system) / 1000 / SCAN_SHARE
    }
    for (const known of this.#known.values()) {
      known.endpoints = endpointsOf(known.links, byLink)
      known.addresses = [...known.endpoints.keys()].map(sharedAddress)
    }
    const signature = [...this.#known.values()].map(({ pid, startTime, addresses }) => [pid, startTime, ...addresses])
    const text = JSON.stringify(signature)
    if (text !== this.#signature) {
      this.#signature = text
      this.#servers = groupServers([...this.#known.values()])
    }
    return this.#servers
  }

  /** Forgets a process that has ended, so that its pid may be found anew. */
  forget(pid: number): void {
    this.#known.delete(pid)
  }

  #scan(byLink: ReadonlyMap<string, Endpoint>, now: number): void {
    const claimed = new Set([...this.#known.values()].flatMap(({ links }) => links))
    const isNew = [...byLink.keys()].some((link) => !claimed.has(link) && !this.#unclaimed.has(link))
    const all = isNew || now >= this.#nextScanOfAll
    if (all) this.#nextScanOfAll = now + SCAN_ALL
    for (const known of this.#known.values()) {
      if (!all && now - known.foundAt > YOUNG) continue
      const described = this.#describe(known.pid, known.foundAt)
      if (described === undefined) continue
      Object.assign(known, described, { links: linksOf(known.pid, byLink) })
    }
    if (!all) return
    const held = new Set([...this.#known.values()].flatMap(({ links }) => links))
    this.#unclaimed = new Set([...byLink.keys()].filter((link) => !held.has(link)))
  }

  /** Returns what is known of a process without looking at its descriptors; undefined if it has none or has ended. */
  #describe(pid: number, foundAt: number): Known | undefined {
    let stat: ReturnType<typeof readStat>
    try {
      stat = readStat(pid)
    } catch {
      return undefined
    }
    const { parent, startTime } = stat
    const isKernel = (stat.flags & KERNEL_THREAD) !== 0
    const command = isKernel ? null : commandOf(pid)
    const namespace = isKernel ? null : namespaceOf(pid)
    return {
      pid,
      parent,
      startTime,
      foundAt,
      program: isKernel ? `kernel ${pid}` : programOf(pid),
      name: nameOf(pid, command),
      command: (command ?? []).join(' '),
      namespace: namespace === null || namespace === this.#own ? undefined : namespace,
      innerPid: isKernel ? pid : innerPidOf(pid),
      supervises: supervises(command),
      wraps: !isKernel && isWrapper(pid),
      chosen: this.#chosen.has(pid),
      links: this.#known.get(pid)?.links ?? [],
      endpoints: new Map(),
      addresses: []
    }
  }
}

/** Returns the links of a process that are endpoints; none if this user may not know or the process has ended. */
function linksOf(pid: number, byLink: ReadonlyMap<string, Endpoint>): string[] {
  try {
    return socketLinks(pid).filter((link) => byLink.has(link))
  } catch {
    return []
  }
}

function endpointsOf(links: readonly string[], byLink: ReadonlyMap<string, Endpoint>): Map<string, Endpoint> {
  const endpoints = new Map<string, Endpoint>()
  for (const link of links) {
    const endpoint = byLink.get(link)
    if (endpoint !== undefined) endpoints.set(endpoint.key, endpoint)
  }
  return endpoints
}

/** Workers may listen on different addresses of one port, so a TCP address stands for its port. */
function sharedAddress(key: string): string {
  const [namespace, type, ...rest] = key.split(' ')
  return type === 'tcp' ? `${namespace} tcp ${rest.at(-1)}` : key
}

/** Returns the identity of the executable of a process. */
function programOf(pid: number): string {
  try {
    const { dev, ino } = fs.statSync(`/proc/${pid}/exe`)
    return `${dev} ${ino}`
  } catch {
    return `pid ${pid}`
  }
}

/** Whether a command line is that of `ebb run` or `ebb serve`. */
function supervises(command: readonly string[] | null): boolean {
  const at = command?.findIndex((word) => /^ebb(\.js)?$/.test(path.basename(word))) ?? -1
  return at !== -1 && ['run', 'serve'].includes(command?.[at + 1] ?? '')
}
