import { createServer } from 'node:net'
import { expect, onTestFinished, test, vi } from 'vitest'
import { freePorts, localPortRange } from './ports.js'

test('the ports differ, are free at every address, and are none that the kernel gives to a connection', async () => {
  const ports = await freePorts(20)
  expect(new Set(ports).size).toBe(20)
  expect(ports.filter((port) => port >= localPortRange().first)).toEqual([])
  for (const host of ['127.0.0.1', '0.0.0.0', '::']) await hold(host, ports[0] as number).then((end) => end())
})

test.each(['127.0.0.1', '0.0.0.0', '127.0.0.2', '::1'])('a port that is in use at %s is passed over', async (host) => {
  const random = vi.spyOn(Math, 'random').mockReturnValue(0.5)
  onTestFinished(() => void random.mockRestore())
  const [taken = 0] = await freePorts(1)
  const end = await hold(host, taken)
  onTestFinished(end)
  random.mockReturnValueOnce(0.5).mockReturnValueOnce(0.5).mockReturnValue(0.25)
  const [next] = await freePorts(1)
  expect(next).not.toBe(taken)
  // The same number a third time: both ports of one call differ, though the first is not used by anybody else.
  random.mockReturnValueOnce(0.75).mockReturnValueOnce(0.75).mockReturnValue(0.25)
  expect(new Set(await freePorts(2)).size).toBe(2)
})

async function hold(host: string, port: number): Promise<() => Promise<void>> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port }, resolve)
  })
  return () => new Promise((resolve) => server.close(() => resolve()))
}
