import { describe, expect, test } from 'vitest'
import { Child } from '../../../../test/support/child.js'
import { milliseconds } from './duration.js'

test.each([
  [5, 5],
  [0.5, 0.5],
  ['250ms', 250],
  ['5s', 5000],
  [' 1.5m ', 90_000],
  ['1h', 3_600_000]
])('%j is %d ms', (value, ms) => {
  expect(milliseconds(value, 'idle')).toBe(ms)
})

test.each([0, -1, Number.NaN, '', '5', '0s', '-5s', '5 s', '5sec', '1d', '1e3ms', null, {}])(
  '%j is no time',
  (value) => {
    expect(() => milliseconds(value as never, 'idle')).toThrow(
      expect.objectContaining({
        code: 'ERR_INVALID_ARG_VALUE',
        message: expect.stringMatching(/^idle must be milliseconds, or a time with a unit/)
      })
    )
  }
)

describe('a number that is probably meant as seconds', () => {
  const program = `
    import net from 'node:net'
    const { listen, park } = await import('ebb')
    const { createServer } = await import('ebb/net')
    const { parkWebSockets } = await import('ebb/ws')
    const { WebSocketServer } = await import('ws')
    const warnings = []
    process.on('warning', ({ code, message }) => warnings.push([code, message]))
    const times = JSON.parse(process.env.TIMES)
    const [idle, firstByteTimeout, timeout, grace] = times
    for (let i = 0; i < 3; i++) {
      park(net.createServer(), { idle, firstByteTimeout })
      createServer({ idle, proxyProtocol: { timeout } })
      parkWebSockets(new WebSocketServer({ noServer: true }), { idle })
      await listen({ port: 0, firstByteTimeout }).shutdown({ grace })
    }
    setImmediate(() => console.log(JSON.stringify(warnings)))`
  const warningsOf = (times: (number | string)[], environment: Record<string, string> = {}): Promise<unknown> =>
    new Child(program, { env: { NODE_ENV: '', TIMES: JSON.stringify(times), ...environment } }).next()

  test('each option warns once', async () => {
    expect(await warningsOf([1, 5, 9.5, 0.5])).toEqual([
      [
        'EBB_SHORT_TIME',
        "idle is 1 ms, because a number is milliseconds: write '1s' for seconds, or '1ms' if it is meant"
      ],
      ['EBB_SHORT_TIME', expect.stringMatching(/^firstByteTimeout is 5 ms/)],
      ['EBB_SHORT_TIME', expect.stringMatching(/^timeout of proxyProtocol is 9.5 ms/)],
      ['EBB_SHORT_TIME', expect.stringMatching(/^grace is 0.5 ms/)]
    ])
  })

  test.each([
    ['10 or more', [10, 20, 100, 5000], {}],
    ['text with a unit', ['1ms', '5ms', '0.5s', '9ms'], {}],
    ['no grace', ['1s', '1s', '1s', 0], {}],
    ['a test of Vitest or Jest', [1, 1, 1, 1], { NODE_ENV: 'test' }],
    ['a test of node:test', [1, 1, 1, 1], { NODE_TEST_CONTEXT: 'child-v8' }]
  ])('no warning: %s', async (_, times, environment) => {
    expect(await warningsOf(times as number[], environment as Record<string, string>)).toEqual([])
  })
})
