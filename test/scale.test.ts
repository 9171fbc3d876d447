/** `npm run bench:scale` with few connections. */
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Cli, ROOT } from './support/cli.js'
import { alive, descendants } from './support/processes.js'

const scale = (...args: string[]): Cli => new Cli([process.execPath, join(ROOT, 'bench/scale/main.mjs'), ...args])

test('measures 1,000 connections to two servers', async () => {
  const { code, stdout, stderr } = await scale('--sizes', '200,1k', '--procs', '2', '--reserve', '1', '--json').ended
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining('1,000 connected') })
  const { rows, stops } = JSON.parse(stdout)
  expect(stops).toEqual([])
  expect(rows).toMatchObject([
    { asked: 200, connections: 200, servers: 2 },
    { asked: 1000, connections: 1000, servers: 2 }
  ])
  for (const row of rows) {
    for (const figure of ['connectMs', 'acceptMs', 'closeMs', 'restAnonymous', 'holdAnonymous', 'holdProportional']) {
      expect(row[figure]).toBeGreaterThan(0)
    }
  }
})

test('reports a size that this machine cannot hold without trying it', async () => {
  const { code, stdout, stderr } = await scale('--sizes', '1k', '--reserve', '100000000').ended
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  expect(stderr).toMatch(
    /^1,000 connections: not tried: memory: .* GB are needed, .* GB are free, and .* GB must stay free$/m
  )
})

test('Ctrl-C leaves no process behind', async () => {
  const cli = scale('--sizes', '500', '--procs', '2', '--reserve', '1')
  await cli.said(/connected/)
  const started = descendants(cli.pid)
  expect(started.length).toBeGreaterThan(3)
  expect(await cli.end('SIGINT')).toMatchObject({ code: 130, stdout: '' })
  for (let i = 0; i < 200 && started.some(alive); i++) await wait(20)
  expect(started.filter(alive)).toEqual([])
})

test('prints one sentence and ends with exit code 1 for invalid options', async () => {
  for (const args of [
    ['--sizes', 'x'],
    ['--sizes', '0'],
    ['--sizes', '11M'],
    ['--procs', '0'],
    ['--nosuch'],
    ['more']
  ]) {
    const { code, stdout, stderr } = await scale(...args).ended
    expect({ args, code, stdout }).toEqual({ args, code: 1, stdout: '' })
    expect(stderr).not.toMatch(/^\s+at /m)
  }
})
