import { expect, test } from 'vitest'
import { groupServers, type Member } from './groups.js'

const process = (pid: number, parent: number, addresses: string[] = [], other: Partial<Member> = {}): Member => ({
  pid,
  parent,
  addresses,
  program: 'node',
  supervises: false,
  wraps: false,
  chosen: false,
  ...other
})

const pids = (...members: Member[]): number[][] => groupServers(members).map((server) => server.map(({ pid }) => pid))

test('a process that does not listen is no server, unless it is chosen', () => {
  expect(pids(process(10, 1, ['80']), process(11, 1))).toEqual([[10]])
  expect(pids(process(10, 1, [], { chosen: true }), process(11, 10))).toEqual([[10]])
})

test('processes that share an address are one server', () => {
  expect(pids(process(10, 1, ['80']), process(11, 1, ['80', '81']), process(12, 1, ['82']))).toEqual([[10, 11], [12]])
  // Another program may have the same port on another address.
  expect(pids(process(10, 1, ['53']), process(11, 1, ['53'], { program: 'dns' }))).toEqual([[10], [11]])
})

test('workers of a cluster belong to the primary that accepts', () => {
  expect(pids(process(12, 11), process(11, 10), process(10, 1, ['80']))).toEqual([[10, 11, 12]])
})

test('master and workers that share a socket are one server, the master first', () => {
  expect(pids(process(9, 30, ['80']), process(30, 1, ['80']), process(31, 30, ['80']))).toEqual([[30, 9, 31]])
})

test('ebb run is part of the server that it runs', () => {
  expect(pids(process(10, 1, [], { supervises: true }), process(11, 10, ['80']))).toEqual([[10, 11]])
  expect(pids(process(10, 1), process(11, 10, ['80']), process(12, 10, ['80']))).toEqual([[10, 11, 12]])
})

test('a parent that is no supervisor is not part of the server', () => {
  expect(pids(process(10, 1), process(11, 10, ['80']))).toEqual([[11]])
  expect(pids(process(10, 1), process(11, 10, ['80']), process(12, 10, ['81']))).toEqual([[11], [12]])
  expect(pids(process(10, 1, [], { wraps: true }), process(11, 10, ['80']), process(12, 10, ['80']))).toEqual([
    [11, 12]
  ])
})

test('a server is not part of the server that started it', () => {
  expect(pids(process(10, 1, ['80']), process(11, 10, ['81']))).toEqual([[10], [11]])
  expect(pids(process(10, 1, ['22'], { program: 'sshd' }), process(11, 10), process(12, 11, ['80']))).toEqual([
    [10],
    [12]
  ])
})

test('a process that is its own parent ends the search', () => {
  expect(pids(process(10, 10), process(11, 10), process(12, 11, ['80']))).toEqual([[12]])
})
