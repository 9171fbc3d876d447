import { once } from 'node:events'
import net from 'node:net'
import { bindSocket, listenOn } from 'ebb/sys'
import { expect, onTestFinished, test } from 'vitest'
import { Insides, sumOf } from './inside.js'
import { askGovernor } from './inside-client.js'
import type { InsideSample } from './sample.js'

/** Answers at the inside socket of this process. Returns what was asked. */
async function answerWith(answer: string): Promise<string[]> {
  const asked: string[] = []
  const server = net.createServer((socket) => {
    socket.on('data', (question) => {
      asked.push(String(question))
      socket.end(answer)
    })
  })
  // Node would make a name of 107 characters.
  const fd = bindSocket({ path: `\0ebb-inside-${process.pid}` })
  listenOn(fd, 8)
  server.listen({ fd })
  await once(server, 'listening')
  onTestFinished(async () => {
    server.close()
    await once(server, 'close')
  })
  return asked
}

const sample = (other: Partial<InsideSample> = {}): InsideSample => {
  return { released: 10, releases: 1, longestPause: 5, parked: null, awake: null, ...other }
}

test('asks a process for its releases and its connections', async () => {
  const asked = await answerWith(
    JSON.stringify({
      version: 1,
      governor: { releases: { spike: 2, limit: 1 }, returned: 43_000_000, longestPause: 12.5 },
      servers: [
        { parked: 10, awake: 1 },
        { parked: 5, awake: 2 }
      ]
    })
  )
  expect(await askGovernor(process.pid)).toEqual({
    released: 43_000_000,
    releases: 3,
    longestPause: 12.5,
    parked: 15,
    awake: 3
  })
  expect(asked).toEqual(['{"ask":"counters","version":1}\n'])
})

test('a process without a governor and servers has no counts', async () => {
  await answerWith('{"version":1,"servers":[]}')
  expect(await askGovernor(process.pid)).toEqual(sample({ released: 0, releases: 0, longestPause: 0 }))
})

test.each(['', 'null', '[', '{"servers":7}', '{"governor":{}}'])('rejects the answer %j', async (answer) => {
  await answerWith(answer)
  await expect(askGovernor(process.pid)).rejects.toThrow()
})

test('rejects if nothing answers', async () => {
  await expect(askGovernor(process.pid)).rejects.toMatchObject({ code: 'ERR_EBB_NO_INSIDE' })
})

test('asks every 5 s, keeps the last answer if the next fails, and forgets processes that are gone', async () => {
  const asked: number[] = []
  let fails = false
  const insides = new Insides(async (pid) => {
    asked.push(pid)
    if (fails) throw new Error('busy')
    return sample({ releases: asked.length })
  })
  insides.refresh(new Set([7, 8]), 0)
  expect(insides.of(7)).toBeNull()
  await insides.settled()
  expect([insides.of(7), insides.of(8)]).toEqual([sample({ releases: 1 }), sample({ releases: 2 })])
  insides.refresh(new Set([7, 8]), 4999)
  expect(asked).toEqual([7, 8])
  fails = true
  insides.refresh(new Set([7]), 5000)
  await insides.settled()
  expect(asked).toEqual([7, 8, 7])
  expect([insides.of(7), insides.of(8)]).toEqual([sample({ releases: 1 }), null])
})

test('sums what is known of several processes', () => {
  expect(sumOf([null, null])).toBeNull()
  expect(sumOf([sample(), null, sample({ longestPause: 9, parked: 3, awake: 0 })])).toEqual({
    released: 20,
    releases: 2,
    longestPause: 9,
    parked: 3,
    awake: 0
  })
})
