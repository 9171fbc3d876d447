/**
 * Checks of what the library keeps, for its own tests: whether the tables, the reactor, the timers, epoll and
 * `/proc/self/fd` agree. In a program, nothing of it runs.
 */
import { channel } from 'node:diagnostics_channel'
import fs from 'node:fs'

/** Something whose state can be checked at any time between two callbacks. */
export interface Audited {
  /** @returns what is wrong; an empty list if nothing is */
  audit(): string[]
}

const created = channel('ebb:created')

/** Tells a test of a new object. */
export function announceCreated(object: Audited): void {
  if (created.hasSubscribers) created.publish(object)
}

let tracked: WeakRef<Audited>[] | undefined

/** Starts to remember the objects that {@link audit} checks. Call it before the first server is made. */
export function trackCreated(): void {
  if (tracked !== undefined) return
  const list: WeakRef<Audited>[] = []
  tracked = list
  created.subscribe((object) => list.push(new WeakRef(object as Audited)))
}

/** Checks all objects made since {@link trackCreated} that still exist. @returns what is wrong */
export function audit(): string[] {
  return (tracked ?? []).flatMap((reference) => reference.deref()?.audit() ?? [])
}

/** Returns what a descriptor refers to, such as `socket:[123]`; undefined if it is not open. */
export function targetOf(fd: number): string | undefined {
  try {
    return fs.readlinkSync(`/proc/self/fd/${fd}`)
  } catch {
    return undefined
  }
}

/** Returns the descriptors that the kernel watches for an epoll instance. */
export function watchedByKernel(epoll: number): Set<number> {
  const lines = fs.readFileSync(`/proc/self/fdinfo/${epoll}`, 'utf8').matchAll(/^tfd:\s*(\d+)/gm)
  return new Set([...lines].map(([, fd]) => Number(fd)))
}
