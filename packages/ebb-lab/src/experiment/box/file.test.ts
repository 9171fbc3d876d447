import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { parseBoxFile, readBoxFile } from './file.js'

const parse = (text: string) => parseBoxFile(text, '/somewhere/box.yaml')

function message(text: string, file = 'box.yaml'): string {
  try {
    parseBoxFile(text, file)
  } catch (error) {
    expect((error as Error).name).toBe('BoxFileError')
    return (error as Error).message
  }
  return ''
}

test('the shortest box has the defaults of ebb bench', () => {
  const box = parse('servers:\n  - command: node server.js {port}\n')
  expect(box).toMatchObject({ name: 'box', rest: 1500, memory: null, limit: null })
  expect(box.variants).toHaveLength(1)
  expect(box.variants[0]).toMatchObject({
    name: 'box',
    servers: [
      {
        name: 'server 1',
        command: ['/bin/sh', '-c', 'node server.js {port}'],
        cwd: '/somewhere',
        port: null,
        env: {},
        governed: false,
        startWithin: 30_000,
        shape: { shape: 'pulse', big: 10_000, iterations: 3, small: 1000, pulses: 4, linger: 4000, offset: 0 },
        connect: {},
        where: '/somewhere/box.yaml:2'
      }
    ]
  })
  // 3 x (4 + 5) s, then 4 x 4 s and 3 x 1 s between them.
  expect(box.duration).toBe(46_000)
})

const WHOLE = `
name: my box
rest: 500ms
duration: 2m
seed: 7
memory: 8GB
limit: 512MiB
variants:
  plain: {}
  nothing changed:
  governed: { governed: true, env: { EBB_LOG: 1 } }
servers:
  - name: chat
    command: [node, chat.js, "{port}"]
    cwd: sub
    port: 8000
    env: { NODE_ENV: production, DEBUG: false }
    count: 2
    stagger: 15
    startWithin: 5
    plan: { big: 10k, iterations: 1, offset: 30s, jitter: 500ms, pulses: forever }
    connect: { payload: hello, active: 10%, close: rst, rate: 5000 }
  - command: ./api
    governed: true
    plan: { shape: steady, connections: 100 }
  - command: ./saw
    plan: { shape: sawtooth, high: 50, period: 10s, duration: 1m }
  - command: ./random
    plan: { shape: poisson, rate: 2.5, hold: 4s, seed: 3 }
`

test('a box with every key', () => {
  const box = parse(WHOLE)
  expect(box).toMatchObject({ name: 'my box', rest: 500, duration: 120_000, memory: 8e9, limit: 512 * 2 ** 20 })
  expect(box.variants.map(({ name }) => name)).toEqual(['plain', 'nothing changed', 'governed'])
  const [plain, same, governed] = box.variants
  expect(same?.servers).toEqual(plain?.servers)
  expect(plain?.servers.map(({ name }) => name)).toEqual(['chat 1', 'chat 2', 'server 2', 'server 3', 'server 4'])
  expect(plain?.servers.slice(0, 2)).toMatchObject([
    { port: 8000, cwd: '/somewhere/sub', env: { NODE_ENV: 'production', DEBUG: 'false' }, shape: { offset: 30_000 } },
    { port: 8001, startWithin: 5000, shape: { offset: 45_000, jitter: 500, pulses: Number.POSITIVE_INFINITY } }
  ])
  expect(plain?.servers[0]?.connect).toEqual({ payload: 'hello', active: 0.1, close: 'rst', rate: 5000 })
  expect(plain?.servers.map((server) => server.governed)).toEqual([false, false, true, false, false])
  expect(governed?.servers.every((server) => server.governed && server.env.EBB_LOG === '1')).toBe(true)
  // The load is the same in every variant, and no two servers have the same seed.
  expect(governed?.servers.map(({ shape }) => shape)).toEqual(plain?.servers.map(({ shape }) => shape))
  const seeds = plain?.servers.map(({ shape }) => shape.seed) ?? []
  expect(new Set(seeds).size).toBe(seeds.length)
  expect(seeds[4]).toBe(3)
  expect(parse(WHOLE)).toEqual(box)
  expect(parse(WHOLE.replace('seed: 7', 'seed: 8')).variants[0]?.servers[0]?.shape.seed).not.toBe(seeds[0])
})

test('reads JSON, and aliases and merges of YAML', () => {
  const json = JSON.stringify({ servers: [{ name: 'a', command: ['true'], plan: { big: 10, small: 0 } }] }, null, 2)
  expect(parse(json).variants[0]?.servers[0]).toMatchObject({ name: 'a', command: ['true'], shape: { big: 10 } })
  const merged = parse(`
servers:
  - &base { name: a, command: x, plan: { big: 7 } }
  - { <<: *base, name: b }`)
  expect(merged.variants[0]?.servers.map(({ name, shape }) => [name, 'big' in shape && shape.big])).toEqual([
    ['a', 7],
    ['b', 7]
  ])
})

test('variants keep the order of the file, even if their names are numbers', () => {
  const text = 'variants: { plain: {}, 22: {}, 20: { governed: true } }\nservers: [{ command: x }]\n'
  expect(parse(text).variants.map(({ name }) => name)).toEqual(['plain', '22', '20'])
  expect(parse(text).variants[2]?.servers[0]?.governed).toBe(true)
})

test('a run lasts until its last plan ends, or as long as the file or the caller says', () => {
  const two = `servers:
  - { command: a, plan: { big: 1, iterations: 1, small: 0, linger: 1s, offset: 3s } }
  - { command: b, plan: { shape: steady, connections: 1 } }`
  expect(parse(two).duration).toBe(4000)
  expect(parse(`duration: 9\n${two}`).duration).toBe(9000)
  expect(parseBoxFile(`duration: 9\n${two}`, 'box.yaml', 5000).duration).toBe(5000)
  expect(() => parseBoxFile(two, 'box.yaml', 700 * 3_600_000)).toThrow(
    /^box\.yaml:1: a run would take 30 days: it must be at most a week$/
  )
})

describe('reports mistakes with their lines', () => {
  const server = 'servers:\n  - command: x\n'
  test.each<[string, string]>([
    ['', 'box.yaml is empty: a box needs servers'],
    ['# nothing\n', 'box.yaml is empty: a box needs servers'],
    ['servers: [', 'box.yaml:1: Flow sequence in block collection must be sufficiently indented and end with a ]'],
    ['a: 1\na: 2\n', 'box.yaml:2: Map keys must be unique'],
    ['servers:\n\t- x\n', 'box.yaml:2: Tabs are not allowed as indentation'],
    ['servers: *no\n', 'box.yaml: Unresolved alias (the anchor must be set before the alias): no'],
    ['- 1\n', 'box.yaml:1: a box has keys and values: name, rest, duration, seed, memory, limit, variants, servers'],
    ['name: x\n', 'box.yaml:1: servers: it is missing: a box needs servers'],
    ['servers: x\n', 'box.yaml:1: servers: it must be a list of servers'],
    ['servers: []\n', 'box.yaml:1: servers: a box needs at least one server'],
    ['servers:\n  - x\n', 'box.yaml:2: servers[0]: a server has keys and values: name, command, env'],
    [`${server}severs: 1\n`, 'box.yaml:3: severs: unknown key: a box has name, rest, duration'],
    [`${server}    comand: y\n`, 'box.yaml:3: servers[0].comand: unknown key: a server has name, command'],
    ['servers:\n  - name: x\n', 'box.yaml:2: servers[0]: neither x nor the variant box has a command'],
    [`${server}    command: 1\n`, 'box.yaml:3: Map keys must be unique'],
    ['servers:\n  - command: [x, 1]\n', 'box.yaml:2: servers[0].command: a command is a line for the shell, or a list'],
    ['servers:\n  - command: []\n', 'box.yaml:2: servers[0].command: a command is a line for the shell, or a list'],
    [`${server}    governed: maybe\n`, 'box.yaml:3: servers[0].governed: it must be true or false'],
    [`${server}    port: 70000\n`, 'box.yaml:3: servers[0].port: a port is from 1 to 65535'],
    [`${server}    port: http\n`, 'box.yaml:3: servers[0].port: it must be a whole number of 0 or more: 1000, 10k'],
    [`${server}    count: 0\n`, 'box.yaml:3: servers[0].count: it must be 1 or more'],
    [`${server}    count: 201\n`, 'box.yaml:3: servers[0].count: it must be at most 200'],
    [
      `${server}    env: [A]\n`,
      'box.yaml:3: servers[0].env: an environment has names and values: NODE_ENV: production'
    ],
    [`${server}    env: { A: [] }\n`, 'box.yaml:3: servers[0].env.A: an environment has names and values'],
    [`${server}    plan: 5\n`, 'box.yaml:3: servers[0].plan: a plan of pulses has keys and values: shape, offset'],
    [`${server}    plan:\n      big: -1\n`, 'box.yaml:4: servers[0].plan.big: it must be a whole number of 0 or more'],
    [
      `${server}    plan:\n      big: 20000k\n`,
      'box.yaml:4: servers[0].plan.big: it must be 10,000,000 connections at most'
    ],
    [`${server}    plan:\n      big: []\n`, 'box.yaml:4: servers[0].plan.big: it must be a whole number of 0 or more'],
    [
      `${server}    plan:\n      linger: 2 weeks\n`,
      'box.yaml:4: servers[0].plan.linger: a time is a number of seconds'
    ],
    [`${server}    plan:\n      linger: 200h\n`, 'box.yaml:4: servers[0].plan.linger: it must be a week at most'],
    [
      `${server}    plan:\n      bog: 1\n`,
      'box.yaml:4: servers[0].plan.bog: unknown key: a plan of pulses has shape, offset'
    ],
    [
      `${server}    plan: { shape: square }\n`,
      'box.yaml:3: servers[0].plan.shape: a shape is pulse, steady, sawtooth, ramp or poisson'
    ],
    [`${server}    plan: { shape: steady }\n`, 'box.yaml:3: servers[0].plan.connections: it is missing'],
    [
      `${server}    plan: { shape: steady, connections: 1, rate: 2 }\n`,
      'box.yaml:3: servers[0].plan.rate: unknown key: a steady plan has shape'
    ],
    [
      `${server}    plan: { shape: sawtooth, high: 9, period: 0 }\n`,
      'box.yaml:3: servers[0].plan.period: a time must be above 0'
    ],
    [
      `${server}    plan: { shape: poisson, rate: 0, hold: 1 }\n`,
      'box.yaml:3: servers[0].plan.rate: it must be a number per second above 0: 0.5, 100, 1k'
    ],
    [
      `${server}    plan: { trace: /no/such.csv }\n`,
      'box.yaml:3: servers[0].plan.trace: cannot read /no/such.csv: no such file or directory (ENOENT)'
    ],
    [
      `${server}    plan: { big: 0, small: 0 }\nduration: 5\n`,
      'box.yaml:3: servers[0].plan: server 1 gets no connection within the 5 s of a run'
    ],
    [
      `${server}    plan: { offset: 10s }\nduration: 5\n`,
      'box.yaml:3: servers[0].plan: server 1 gets no connection within the 5 s of a run'
    ],
    [
      `${server}    plan: { pulses: forever }\n`,
      'box.yaml:1: no plan ends by itself: set the length of a run (duration: 2m)'
    ],
    [
      `${server}    connect: { active: 5% }\n`,
      'box.yaml:3: servers[0].connect: active and expectEcho need data to send'
    ],
    [`${server}    connect: { close: gently }\n`, 'box.yaml:3: servers[0].connect.close: it must be fin or rst'],
    [`${server}    plan: { offset: 169h }\n`, 'box.yaml:3: servers[0].plan.offset: it must be a week at most'],
    [`rest: 600h\n${server}`, 'box.yaml:1: rest: it must be a week at most'],
    [
      `${server}    plan: { pulses: 1000000000000 }\n`,
      'box.yaml:3: servers[0].plan.pulses: it must be at most 1,000,000, or forever'
    ],
    [
      `${server}    plan: { iterations: 600k, linger: 1s, bigSeparation: 1s }\n`,
      'box.yaml:1: a run would take 14 days: it must be at most a week'
    ],
    [
      `${server}    plan: { shape: sawtooth, high: 9, period: 0.001ms }\n`,
      'box.yaml:3: servers[0].plan.period: it must be 200ms or more'
    ],
    [`${server}---\n${server}`, 'box.yaml:3: another YAML document begins here: a box must be a single document'],
    [`memory: 8\n${server}`, 'box.yaml:1: memory: a size is a number above 0 with its unit: 600MB'],
    [`limit: 600 mb\n${server}`, 'box.yaml:1: limit: a size is a number above 0 with its unit'],
    [`seed: -1\n${server}`, 'box.yaml:1: seed: it must be a whole number of 0 or more'],
    [`variants: [a]\n${server}`, 'box.yaml:1: variants: variants have names'],
    [`variants: {}\n${server}`, 'box.yaml:1: variants: it is empty: leave the key out'],
    [
      `variants:\n  a: { plan: {} }\n${server}`,
      'box.yaml:2: variants.a.plan: unknown key: a variant has command, env, governed'
    ],
    [
      `${server}  - name: server 1\n    command: y\n`,
      'box.yaml:3: servers[1].name: two servers are called "server 1": give each a name of its own'
    ],
    [
      'servers:\n  - { command: a, port: 80 }\n  - { command: b, port: 80 }\n',
      'box.yaml:3: servers[1].port: two servers have the port 80'
    ],
    [
      'servers:\n  - { command: a, port: 65535, count: 2 }\n',
      'box.yaml:2: servers[0].port: server 1 2 would have the port 65536'
    ],
    [
      'servers:\n  - { command: a, count: 150 }\n  - { command: b, count: 150 }\n',
      'box.yaml:1: servers: 300 servers are too many'
    ]
  ])('%j', (text, sentence) => {
    const said = message(text)
    expect(said.slice(0, sentence.length)).toBe(sentence)
    expect(said).not.toContain('\n')
  })

  test('lists several mistakes in the order of their lines', () => {
    const text = 'nome: x\nservers:\n  - command: a\n    plan: { big: x, smal: 1 }\n  - port: 1x\n'
    expect(
      message(text)
        .split('\n')
        .map((line) => line.split(': ').slice(0, 2))
    ).toEqual([
      ['box.yaml:1', 'nome'],
      ['box.yaml:4', 'servers[0].plan.big'],
      ['box.yaml:4', 'servers[0].plan.smal'],
      ['box.yaml:5', 'servers[1].port']
    ])
    expect(message(`${Array.from({ length: 20 }, (_, i) => `k${i}: 1\n`).join('')}servers: []\n`)).toMatch(
      /\nand 13 more$/
    )
  })

  test('refuses exponentially growing aliases', () => {
    const lines = ['a0: &a0 [x,x,x,x,x,x,x,x,x]']
    for (let i = 1; i < 12; i++)
      lines.push(
        `a${i}: &a${i} [${Array(9)
          .fill(`*a${i - 1}`)
          .join(',')}]`
      )
    expect(message(lines.join('\n'))).toMatch(/^box\.yaml: Excessive alias count/)
  })

  test('reports files that cannot be read, and finds traces beside the file', () => {
    const directory = mkdtempSync(join(tmpdir(), 'ebb-box-'))
    onTestFinished(() => rmSync(directory, { recursive: true }))
    expect(() => readBoxFile(join(directory, 'no.yaml'))).toThrow(
      /^cannot read .*no\.yaml: no such file or directory \(ENOENT\)$/
    )
    expect(() => readBoxFile(directory)).toThrow(/: it is a directory \(EISDIR\)$/)
    const file = join(directory, 'box.yaml')
    writeFileSync(file, 'servers:\n  - { command: a, plan: { trace: t.csv, speed: 2, scale: 10, offset: 1s } }\n')
    writeFileSync(join(directory, 't.csv'), 'time,connections\n0,5\n1,7\n2,0\n')
    const box = readBoxFile(file)
    expect(box.duration).toBe(2000)
    expect(box.variants[0]?.servers[0]?.shape).toMatchObject({
      shape: 'trace',
      offset: 1000,
      levels: [
        { at: 0, connections: 50 },
        { at: 500, connections: 70 },
        { at: 1000, connections: 0 }
      ]
    })
    writeFileSync(join(directory, 't.csv'), '0,5\n2,7\n1,0\n')
    expect(() => readBoxFile(file)).toThrow(/^.*box\.yaml:2: servers\[0\]\.plan\.trace: .*t\.csv:3: time goes backward/)
  })
})
