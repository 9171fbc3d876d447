/** How many connections an agent can hold, and to which targets. */
import { availableParallelism } from 'node:os'
import { localPorts, MOST_SOURCES } from '../client.js'
import { roomOf } from '../crowd.js'
import type { Capacity } from './messages.js'

/** What this machine can hold: descriptors in `processes` processes (default: one for each CPU), and local ports. */
export function capacityHere(sources: readonly string[], processes = availableParallelism()): Capacity {
  return { descriptors: roomOf(processes), ports: localPorts(), sources: sources.length }
}

/** What can be held to a server: each source address has its ports once for every address and port that it connects to. */
export function capacityTo(host: string, { descriptors, ports, sources }: Capacity): number {
  // 127.0.0.0/8 has addresses enough to come from, and they are taken as they are needed.
  const loopback = host === 'localhost' || host.startsWith('127.')
  return Math.min(descriptors, ports * (sources === 0 && loopback ? MOST_SOURCES : Math.max(1, sources)))
}

/** What a capacity is made of, for a person. */
export function describeCapacity({ descriptors, ports, sources }: Capacity): string {
  return `${descriptors} descriptors, ${ports} ports on ${Math.max(1, sources)} source address${sources > 1 ? 'es' : ''}`
}
