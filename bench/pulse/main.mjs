/**
 * `npm run bench:pulse`: what the pulse client itself takes: 10,000 connections to the C peer, three times, from a process of its
 * own. Needs `bench/install c`.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { ownAnonymous } from 'ebb/memory'
import { pulse, start } from 'ebb-lab'
import { C, missing } from '../peers/list.mjs'

const CONNECTIONS = 10_000

if (process.argv[2] === 'client') await client(Number(process.argv[3]))
else await main()

async function main() {
  const absent = missing(C)
  if (absent !== undefined) {
    console.error(`the C peer: ${absent}`)
    process.exit(1)
  }
  const { port, launched } = await start(C.command)
  try {
    const child = fork(fileURLToPath(import.meta.url), ['client', String(port)])
    const [{ times, over }] = await once(child, 'message')
    console.log(`${CONNECTIONS} connections in ${times.map((ms) => `${ms.toFixed(0)} ms`).join(', ')}`)
    console.log(`at most ${(over / 1e6).toFixed(1)} MB anonymous over the client's rest`)
    await once(child, 'exit')
  } finally {
    await launched.stop()
  }
}

async function client(port) {
  const rest = ownAnonymous()
  let most = 0
  const times = []
  const look = setInterval(() => {
    most = Math.max(most, ownAnonymous())
  }, 10)
  await pulse(
    { host: '127.0.0.1', port },
    { big: CONNECTIONS, iterations: 3, bigSeparation: 1000, linger: 1000, pulses: 0 },
    {
      onEvent: (event) => {
        if (event.event === 'connected') times.push(event.opened.ms)
      }
    }
  )
  clearInterval(look)
  process.send({ times, over: most - rest })
  process.disconnect()
}
