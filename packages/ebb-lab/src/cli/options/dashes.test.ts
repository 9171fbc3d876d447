import fc from 'fast-check'
import { expect, test } from 'vitest'
import { twoDashes } from './dashes.js'

const known = new Set([
  ...['big', 'iterations', 'big-separation', 'small', 'small-separation', 'linger'],
  ...['port', 'expect-echo']
])

test.each([
  ['-big=100', '--big=100'],
  ['-b=100', '--big=100'],
  ['-bs=0.1', '--big-separation=0.1'],
  ['-ss', '--small-separation'],
  ['-l=100ms', '--linger=100ms'],
  ['-i', '--iterations'],
  ['-small=10', '--small=10'],
  ['-port=80', '--port=80'],
  ['-expect-echo', '--expect-echo'],
  ['-big-separation=', '--big-separation='],
  ['-big=a\nb', '--big=a\nb']
])('%s is %s', (typed, meant) => {
  expect(twoDashes([typed], known)).toEqual([meant])
})

test.each(['-1', '-1.5', '-', '--', '--big', '-h', '-v', '-unknown', '-=3', 'big', '', '---big', '- big'])(
  '%j stays as it is',
  (typed) => {
    expect(twoDashes([typed], known)).toEqual([typed])
  }
)

test('a short spelling of an unknown option stays as it is', () => {
  expect(twoDashes(['-big=1', '-l', '2'], new Set(['linger']))).toEqual(['-big=1', '--linger', '2'])
})

test('arguments after -- stay as they are', () => {
  const words = fc.array(fc.oneof(fc.constantFrom('-big=1', '-i', '--', '-port', 'x'), fc.string()))
  fc.assert(
    fc.property(words, (rest) => {
      expect(twoDashes(['-i', '3', '--', ...rest], known)).toEqual(['--iterations', '3', '--', ...rest])
    })
  )
})

test('the number of arguments stays the same, and a second pass changes nothing', () => {
  const words = fc.array(fc.oneof(fc.constantFrom('-big=1', '-i', '-ss', '-port'), fc.string({ unit: 'binary' })))
  fc.assert(
    fc.property(words, (args) => {
      const once = twoDashes(args, known)
      expect(once).toHaveLength(args.length)
      expect(twoDashes(once, known)).toEqual(once)
    })
  )
})
