import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, onTestFinished, test } from 'vitest'
import { innerPidOf, insidePid, loadsAuto } from './inside-socket.js'

async function started(NODE_OPTIONS: string, argv0 = 'sleep'): Promise<number> {
  // A folder in another variable is no module.
  const env = { ...process.env, NODE_OPTIONS, PWD: '/srv/ebb/auto' }
  const child: ChildProcess = spawn('sleep', ['60'], { argv0, env })
  onTestFinished(() => void child.kill('SIGKILL'))
  await once(child, 'spawn')
  return child.pid as number
}

test('the name of an inside socket has the pid that its process sees', () => {
  expect(['@ebb-inside-12', '@ebb-inside-', '/ebb-inside-12', '@ebb-inside-12x'].map(insidePid)).toEqual([
    12,
    null,
    null,
    null
  ])
  expect(innerPidOf(process.pid)).toBe(process.pid)
})

test.each<[boolean, string]>([
  [true, '--import ebb/auto'],
  [true, '--import=ebb/auto --max-old-space-size=100'],
  [true, '--require "/srv/app/node_modules/ebb/dist/cjs/auto.js"'],
  [true, "--import '/srv/app/node_modules/ebb/dist/auto.js'"],
  [false, '--import webb/auto'],
  [false, '--import ebb/automatic'],
  [false, '--import /srv/ebb/auto/server.js']
])('whether it loads ebb/auto is %s by %s', async (loads, options) => {
  expect(loadsAuto(await started(options))).toBe(loads)
  expect(loadsAuto(await started('', `node ${options} server.js`))).toBe(loads)
})
