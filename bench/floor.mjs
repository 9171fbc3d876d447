/**
 * `npm run bench`: `ebb serve` beside the floor, a C server that does the same, and beside plain `node:net`, in one run; and what
 * the pulse client itself takes.
 *
 * Needs gcc for the C server, which is left out where there is none. `--quick`: a fifth of the size.
 */
import { execFileSync, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import { ownAnonymous } from 'ebb/memory'
import { experiment, pulse, QUICK_PLAN, table } from 'ebb-lab'

const here = (path) => fileURLToPath(new URL(path, import.meta.url))
const quick = process.argv.includes('--quick')
const CLIENT_CONNECTIONS = 10_000

if (process.argv[2] === 'client') await client(Number(process.argv[3]))
else await main()

async function main() {
  const floor = buildFloor()
  const cli = here('../packages/ebb-lab/dist/cli/main.js')
  const serve = [process.execPath, cli, 'serve', '--port', '{port}', '--mode']
  const targets = [
    ...(floor ? [{ name: 'C', command: [floor, '{port}'] }] : []),
    { name: 'ebb', command: [...serve, 'park'] },
    { name: 'net', command: [...serve, 'net'] }
  ]
  const { verdicts } = await experiment(targets, {
    ...(quick && { plan: QUICK_PLAN }),
    onEvent: ({ name, role, event, opened }) => {
      if (event === 'start') console.error(`${name} ${role}`)
      if (event === 'connected') console.error(`  ${opened.connected} connected in ${opened.ms.toFixed(0)} ms`)
    }
  })
  console.log(table(verdicts))
  const cpu = Object.fromEntries(verdicts.map((verdict) => [verdict.name, verdict.cpuPerThousand]))
  for (const [a, b] of floor
    ? [
        ['ebb', 'C'],
        ['net', 'C'],
        ['ebb', 'net']
      ]
    : [['ebb', 'net']]) {
    console.log(`CPU per 1,000 connections, ${a} / ${b}: ${(cpu[a] / cpu[b]).toFixed(2)}`)
  }
  if (floor) await measureClient(floor)
}

/** The path of the C server, built when it is not there or older than its source; undefined without a compiler. */
function buildFloor() {
  const source = here('peers/epoll.c')
  const binary = here('peers/bin/epoll')
  if (existsSync(binary) && statSync(binary).mtimeMs > statSync(source).mtimeMs) return binary
  mkdirSync(here('peers/bin'), { recursive: true })
  try {
    execFileSync('gcc', ['-O2', '-Wall', '-o', binary, source], { stdio: ['ignore', 'inherit', 'inherit'] })
    return binary
  } catch (error) {
    console.error(`skipped: the C server (${error.code === 'ENOENT' ? 'there is no gcc' : error.message})`)
    return undefined
  }
}

/** 10,000 connections to the C server from a process of its own, which tells what it took. */
async function measureClient(floor) {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address()
  probe.close()
  await once(probe, 'close')
  const server = spawn(floor, [String(port)], { stdio: 'inherit' })
  try {
    await new Promise((resolve) => setTimeout(resolve, 200))
    const child = fork(fileURLToPath(import.meta.url), ['client', String(port)])
    const [{ times, over }] = await once(child, 'message')
    const list = times.map((ms) => `${ms.toFixed(0)} ms`).join(', ')
    console.log(`ebb pulse: ${CLIENT_CONNECTIONS} connections to the C server in ${list}`)
    console.log(`ebb pulse: at most ${(over / 1e6).toFixed(1)} MB anonymous over its rest`)
    await once(child, 'exit')
  } finally {
    server.kill()
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
    { big: CLIENT_CONNECTIONS, iterations: 3, bigSeparation: 1000, linger: 1000, pulses: 0 },
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
