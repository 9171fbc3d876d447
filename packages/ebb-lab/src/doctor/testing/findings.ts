/** Makes mappings and findings for tests of the doctor. */
import type { Findings } from '../advice/advice.js'
import type { Mapping } from '../mappings.js'
import type { Part, PartKind } from '../parts.js'

export const MB = 1e6

/** Returns a private anonymous mapping of `size` bytes, all of it resident, unless `with` says otherwise. */
export function mapping(start: number, size: number, given: Partial<Mapping> = {}): Mapping {
  const isOpen = !(given.access ?? 'rw-p').startsWith('---')
  const resident = given.resident ?? given.anonymous ?? (isOpen ? size : 0)
  return {
    start,
    end: start + size,
    access: 'rw-p',
    path: '',
    resident,
    anonymous: isOpen ? resident : 0,
    huge: 0,
    lazy: 0,
    swapped: 0,
    reserved: 0,
    ...given
  }
}

/** Returns a part. */
export function part(kind: PartKind, bytes: number, given: Partial<Part> = {}): Part {
  const group = kind === 'file' || kind === 'shared' ? kind : 'anonymous'
  return { kind, group, name: null, bytes, huge: 0, swapped: 0, mappings: 1, ...given }
}

/** Returns the findings about a program with 100 MB that gives no reason for any advice. */
export function findings(given: Partial<Findings> = {}): Findings {
  return {
    version: 1,
    pid: 4242,
    name: 'program',
    runtime: { name: 'native', version: null, allocator: 'glibc' },
    state: 'S',
    memory: {
      resident: 120 * MB,
      anonymous: 100 * MB,
      file: 20 * MB,
      swapped: 0,
      peak: 130 * MB,
      pageTables: 0.5 * MB,
      lazy: 0,
      reserved: 0
    },
    parts: [part('heap', 100 * MB), part('file', 20 * MB, { name: '/usr/bin/program' })],
    mappings: { count: 40, limit: 65_530 },
    threads: { count: 4, stacks: [] },
    malloc: { heaps: 1, used: 99 * MB, free: MB, releasable: 0, tops: 0, unknown: 0 },
    hugePages: null,
    descriptors: {
      open: 10,
      limit: 1024,
      kinds: { file: 10 },
      sockets: { count: {}, unread: 0, unsent: 0, withUnread: 0, withUnsent: 0, waiting: 0 }
    },
    cgroup: null,
    trend: null,
    inside: null,
    hasAuto: false,
    release: null,
    notes: [],
    ...given
  }
}
