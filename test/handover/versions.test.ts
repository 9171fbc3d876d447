/** Processes of different versions hand over to each other: of Node, and of the protocol. */
import { describe, expect, test } from 'vitest'
import { ECHO, echoClients, eventually, handoverPath, Member, type MemberOptions } from '../support/handover.js'
import { installedNode } from '../support/nodes.js'

/** The oldest and the newest supported line. */
const LINES = ['20', '26']
const line = process.versions.node.split('.', 1)[0] as string
const others = LINES.filter((other) => other !== line)

describe.each(others)('Node %s', (version) => {
  const node = installedNode(version)
  const reason = `Node ${version} is not installed: npm run matrix installs it, or set EBB_NODE_${version} to its path`
  if (node === undefined) console.warn(`skipped: ${reason}`)

  test.for([
    { from: 'this Node', to: 'the other' },
    { from: 'the other', to: 'this Node' }
  ])('$from hands over to $to, and takes over again, with attachments', async ({ from }, { skip }) => {
    if (node === undefined) return skip(reason)
    const path = handoverPath()
    const before: MemberOptions = from === 'this Node' ? {} : { node }
    const after: MemberOptions = from === 'this Node' ? { node } : {}
    const first = new Member(path, before)
    const clients = await echoClients(await first.expect('ready'), 300)
    const texts = clients.map((_, i) => (i % 100 === 0 ? 'big:100000' : `keep:${i}`))
    const ids = await Promise.all(clients.map(async (client, i) => (await client.ask(texts[i] as string)).id))
    let last = first
    for (const options of [after, before]) {
      await eventually(() => last.value('first.stats().parked')).toBe(300)
      const next = new Member(path, options)
      expect((await next.expect('ready')).from).toMatchObject({ pid: last.process.pid, connections: 300 })
      await last.expect('handedOver')
      await last.expect('closed')
      expect((await last.ended).code).toBe(0)
      const answers = await Promise.all(clients.map((client) => client.ask('who')))
      expect(answers.map(({ id, pid, kept }) => ({ id, pid, kept }))).toEqual(
        ids.map((id, i) => ({ id, pid: next.process.pid, kept: i % 100 === 0 ? 100_000 : String(i) }))
      )
      last = next
    }
    expect(await last.value('audit()')).toEqual([])
  })
})

describe('an older version of the protocol', () => {
  /** Has a process speak version 0, which is in bytes 4 and 5 of each message. */
  const OLDER = `
    const { readUInt16LE: read, writeUInt16LE: write } = Buffer.prototype
    const isVersion = (bytes, at) => at === 4 && bytes.readUInt32LE(0) === 0x68626265
    Buffer.prototype.writeUInt16LE = function (value, at) {
      return write.call(this, isVersion(this, at) ? 0 : value, at)
    }
    Buffer.prototype.readUInt16LE = function (at) {
      const value = read.call(this, at)
      return isVersion(this, at) ? 1 - value : value
    }
    ${ECHO}`

  test.each([
    { which: 'successor', before: ECHO, after: OLDER },
    { which: 'process before', before: OLDER, after: ECHO }
  ])('in the $which: the process before goes on, and both say why', async ({ before, after }) => {
    const path = handoverPath()
    const first = new Member(path, { servers: before })
    const clients = await echoClients(await first.expect('ready'), 50)
    await Promise.all(clients.map((client) => client.ask('x')))
    const second = new Member(path, { servers: after })
    const text = /speaks version \d of the handover protocol, and this one version \d: restart without a handover/
    expect(await second.expect('failed')).toMatchObject({ message: expect.stringMatching(text), left: 0, wrong: [] })
    expect((await first.expect('handoverFailed')).message).toMatch(text)
    for (const { pid } of await Promise.all(clients.map((client) => client.ask('who')))) {
      expect(pid).toBe(first.process.pid)
    }
    // Two of the same version go on as ever.
    await eventually(() => first.value('first.stats().parked')).toBe(50)
    const third = new Member(path, { servers: before })
    expect((await third.expect('ready')).from).toMatchObject({ connections: 50 })
    expect((await clients[0]?.ask('who'))?.pid).toBe(third.process.pid)
  })
})
