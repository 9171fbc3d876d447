/** How many connections an agent can hold, and to which servers. */
import { availableParallelism } from 'node:os'
import { crowdCapacity } from '../crowd.js'
import { localPorts, MAX_SOURCES } from '../sources.js'
import type { Capacity } from './messages.js'

/**
 * Returns the capacity of this machine.
 *
 * @param sources local addresses to connect from; with none, the kernel chooses
 * @param processes maximum number of processes that hold connections. Default: one per CPU
 */
export function capacityHere(sources: readonly string[], processes = availableParallelism()): Capacity {
  return { descriptors: crowdCapacity(processes), ports: localPorts(), sources: sources.length }
}

/**
 * Returns how many connections a capacity allows to one server. Each source address can use each of its ports once per
 * address and port of a server.
 */
export function capacityTo(host: string, { descriptors, ports, sources }: Capacity): number {
  // On loopback, more source addresses of 127.0.0.0/8 are taken as needed.
  const loopback = host === 'localhost' || host.startsWith('127.')
  return Math.min(descriptors, ports * (sources === 0 && loopback ? MAX_SOURCES : Math.max(1, sources)))
}

/**
 * Returns how many connections a capacity allows to several servers, if they are shared out evenly. Each server has its
 * own ports.
 */
export function capacityToAll(hosts: readonly string[], capacity: Capacity): number {
  const each = hosts.map((host) => capacityTo(host, { ...capacity, descriptors: Number.MAX_SAFE_INTEGER }))
  return Math.min(capacity.descriptors, hosts.length * Math.min(...each))
}

/** Describes a capacity for people. */
export function describeCapacity({ descriptors, ports, sources }: Capacity): string {
  const addresses = `${Math.max(1, sources)} source address${sources > 1 ? 'es' : ''}`
  return `${descriptors} descriptors, ${ports} ports on ${addresses}`
}
