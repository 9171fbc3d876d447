import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { ProcessView } from 'ebb/memory'
import { expect, onTestFinished, test } from 'vitest'
import { watch } from './trend.js'

async function sleeping(): Promise<{ child: ChildProcess; view: ProcessView }> {
  const child = spawn('sleep', ['600'])
  onTestFinished(() => void child.kill('SIGKILL'))
  await once(child, 'spawn')
  const view = new ProcessView(child.pid as number)
  onTestFinished(() => view.close())
  return { child, view }
}

test('a process is watched for the time', async () => {
  const { view } = await sleeping()
  const trend = await watch(view, 60)
  expect(trend?.over).toBeGreaterThanOrEqual(60)
  expect(trend?.highest).toBeGreaterThanOrEqual(trend?.lowest ?? Number.NaN)
})

test('the watch ends with the process', async () => {
  const { child, view } = await sleeping()
  const trend = watch(view, 3_600_000)
  child.kill('SIGKILL')
  // The first sample was taken before; whether there is a second depends on how fast the process ends.
  await expect(trend).resolves.toSatisfy((value) => value === null || value.over < 3_600_000)
})

test('the watch ends with the signal', async () => {
  const { view } = await sleeping()
  const controller = new AbortController()
  const trend = watch(view, 3_600_000, controller.signal)
  controller.abort()
  expect(await trend).toBeNull()
})
