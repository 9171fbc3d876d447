import fs from 'node:fs'
import { describe, expect, onTestFinished, test } from 'vitest'
import { encode, encodeJson, LISTENING, ORDER, ROWS } from '../handover/protocol.js'
import { type Row, RowWriter } from '../handover/rows.js'
import { ROWS as ROWS_OF_TABLE } from '../park/state/table.js'
import { MOST_BYTES } from '../sys/channel.js'
import { makeMemoryFile, sealMemoryFile, writeAll } from '../sys/memory-file.js'
import { bindSocket, closeDescriptor, cookieOf } from '../sys/socket.js'
import { type ArchiveDescriptors, readArchive, writeArchive } from './archive.js'
import { Holding } from './holding.js'

const openDescriptors = (): number => fs.readdirSync('/proc/self/fd').length
const socket = (): number => bindSocket({ host: '127.0.0.1', port: 0 })

/** A holding with servers, and with connections of the last one. */
function holding(servers: number, connections: number): Holding {
  const names = Array.from({ length: servers }, (_, i) => ({ name: `${i}`, kind: 'net' }))
  const made = new Holding({ pid: 1, node: 'v24.0.0', servers: names })
  onTestFinished(() => made.close())
  for (let server = 0; server < servers; server++) {
    const listening = { server, path: '', backlog: 10, mostUses: 3 }
    made.take({ kind: LISTENING, payload: payloadOf(encodeJson(LISTENING, listening)) }, [socket()])
  }
  for (let i = 0; i < connections; i++) {
    const fd = socket()
    const writer = new RowWriter(MOST_BYTES)
    writer.add(rowOf(servers - 1, i, fd))
    made.take({ kind: ROWS, payload: payloadOf(writer.take()) }, [fd])
  }
  return made
}

const payloadOf = (message: Buffer): Buffer => Buffer.from(message.subarray(8))

function rowOf(server: number, i: number, fd: number): Row {
  const attachment = i % 2 === 0 ? `attachment ${i}` : undefined
  return {
    ...{ server, id: ROWS_OF_TABLE + i, flags: 0, wakes: i, requests: 0, deadline: 5, duration: 0 },
    ...{ cookie: cookieOf(fd), size: attachment?.length ?? -1, stateSize: 0, body: attachment, proxied: undefined }
  }
}

const order = (): Buffer => encode(ORDER, Buffer.from('an order'))

function written(servers = 2, connections = 5): ArchiveDescriptors {
  return writeArchive({ holding: holding(servers, connections), orders: [order()] })
}

describe('an archive', () => {
  test('gives back what was put into it, although the process that wrote it has closed all of it', () => {
    const before = holding(2, 600)
    const archive = writeArchive({ holding: before, orders: [order(), order()] })
    const rows = [...(before.connections[1]?.all(1) ?? [])].map(({ row }) => row)
    before.close()
    const { holding: after, orders } = readArchive(archive)
    onTestFinished(() => after.close())
    expect(after.origin).toEqual(before.origin)
    expect(orders).toEqual([order(), order()])
    expect({ size: after.size, sockets: after.sockets }).toEqual({ size: 600, sockets: 2 })
    const all = [...(after.connections[1]?.all(1) ?? [])]
    expect(all.map(({ row }) => row)).toEqual(rows)
    // Each descriptor is with its own row.
    expect(all.map(({ fd }) => cookieOf(fd))).toEqual(rows.map(({ cookie }) => cookie))
  })

  test('takes more queues when one is full', () => {
    // A message for each listening socket: a queue holds fewer than 300.
    const before = holding(700, 1)
    const archive = writeArchive({ holding: before, orders: [] })
    expect(archive.queues.length).toBeGreaterThan(1)
    const { holding: after } = readArchive(archive)
    onTestFinished(() => after.close())
    expect(after.sockets).toBe(700)
  })

  const copied = ({ file, queues }: ArchiveDescriptors, change: (bytes: Buffer) => Buffer): ArchiveDescriptors => {
    const changed = makeMemoryFile('changed')
    writeAll(changed, change(fs.readFileSync(`/proc/self/fd/${file}`)))
    closeDescriptor(file)
    return { file: changed, queues }
  }
  const sealed = (archive: ArchiveDescriptors): ArchiveDescriptors => {
    sealMemoryFile(archive.file)
    return archive
  }

  test.each<[string, () => ArchiveDescriptors]>([
    ['is not sealed', () => copied(written(), (bytes) => bytes)],
    ['is empty', () => sealed(copied(written(), () => Buffer.alloc(0)))],
    ['is cut', () => sealed(copied(written(), (bytes) => bytes.subarray(0, -30)))],
    ['has no COMMIT', () => sealed(copied(written(), (bytes) => bytes.subarray(0, bytes.indexOf('ebbh', 100))))],
    ['has other bytes', () => sealed(copied(written(), (bytes) => bytes.fill(7, 40, 60)))],
    ['has no queue', () => ({ file: written().file, queues: [] })],
    ['has the queue of another one', () => ({ file: written(2, 5).file, queues: written(2, 6).queues })]
  ])('that %s is refused, and nothing of it stays open', (_, make) => {
    const archive = make()
    const before = openDescriptors()
    expect(() => readArchive(archive)).toThrow()
    expect(openDescriptors()).toBe(before - 1 - archive.queues.length)
  })
})
