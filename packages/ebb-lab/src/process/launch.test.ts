import fs from 'node:fs'
import { afterEach, expect, test, vi } from 'vitest'
import { type Launched, launch } from './launch.js'

const started: Launched[] = []
afterEach(async () => {
  for (const one of started.splice(0)) await one.stop(0)
})

async function start(...command: string[]): Promise<Launched> {
  const launched = await launch(command)
  started.push(launched)
  return launched
}

function read(launched: Launched): { text: string } {
  const said = { text: '' }
  launched.stdout.on('data', (chunk: Buffer) => {
    said.text += chunk.toString()
  })
  return said
}

/** Expects that a process has ended: it is gone, or a zombie that its parent has not waited for. */
function expectEnded(pid: number): void {
  let status = ''
  try {
    status = fs.readFileSync(`/proc/${pid}/status`, 'utf8')
  } catch {
    return
  }
  expect(status).toMatch(/^State:\s+Z/m)
}

test('keeps what the command printed before anybody listened, even if it has ended', async () => {
  const launched = await start('/bin/sh', '-c', 'echo one; echo two; exit 3')
  await vi.waitFor(() => expect(() => process.kill(launched.pid, 0)).toThrow('ESRCH'))
  const said = read(launched)
  expect(await launched.exited).toEqual({ exitCode: 3, signal: null })
  expect(said.text).toBe('one\ntwo\n')
})

test('does not wait for a child that holds the output open', async () => {
  const launched = await start('/bin/sh', '-c', 'sleep 60 & echo $!')
  const said = read(launched)
  expect(await launched.exited).toEqual({ exitCode: 0, signal: null })
  const status = `/proc/${Number(said.text)}/status`
  expect(fs.existsSync(status)).toBe(true)
  await launched.stop()
  await vi.waitFor(() => {
    if (fs.existsSync(status)) expect(fs.readFileSync(status, 'utf8')).toMatch(/^State:\s+Z/m)
  })
})

test('kills a command that ignores SIGTERM after the grace period', async () => {
  const launched = await start('/bin/sh', '-c', 'trap "" TERM; echo up; while :; do sleep 0.05; done')
  const said = read(launched)
  await vi.waitFor(() => expect(said.text).toBe('up\n'))
  expect(await launched.stop(100)).toEqual({ exitCode: null, signal: 'SIGKILL' })
})

test('kills a child that ignores SIGTERM and whose parent has ended', async () => {
  const launched = await start(
    '/bin/sh',
    '-c',
    'sh -c \'trap "" TERM; echo $$; while :; do sleep 0.05; done\' & exec sleep 60'
  )
  const said = read(launched)
  await vi.waitFor(() => expect(said.text).toMatch(/\d+\n/))
  await launched.stop(200)
  expectEnded(Number(said.text))
})

test('ends children in sessions of their own, whether or not they ignore SIGTERM', async () => {
  const deaf = 'trap "" TERM; echo $$; while :; do sleep 0.05; done'
  const launched = await start('/bin/sh', '-c', `setsid sleep 60 & echo $!; setsid sh -c '${deaf}' & exec sleep 60`)
  const said = read(launched)
  await vi.waitFor(() => expect(said.text).toMatch(/\d+\n\d+\n/))
  // Both have left the group.
  const pids = said.text.trim().split('\n').map(Number)
  await vi.waitFor(() => {
    for (const pid of pids)
      expect(fs.readFileSync(`/proc/${pid}/stat`, 'utf8')).not.toContain(` ${launched.pid} ${launched.pid} `)
  })
  await launched.stop(200)
  for (const pid of pids) expectEnded(pid)
})

test('leaves no exit listener behind', async () => {
  const listeners = process.listenerCount('exit')
  const launched = await start('/bin/sleep', '60')
  expect(process.listenerCount('exit')).toBe(listeners + 1)
  expect(await launched.stop()).toEqual({ exitCode: null, signal: 'SIGTERM' })
  expect(await launched.stop()).toEqual({ exitCode: null, signal: 'SIGTERM' })
  expect(process.listenerCount('exit')).toBe(listeners)
})
