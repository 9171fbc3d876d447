/**
 * The cases of the Autobahn test suite (fuzzing client) without compression, under their numbers.
 *
 * Where the list accepts several outcomes, the one of `ws` is expected: `ws` finds invalid UTF-8 at the end of a
 * message (6.4), and answers close codes of 5000 and above with 1002 (7.13).
 */
import {
  type Case,
  closeFrame,
  described,
  type Frame,
  frame,
  INVALID_PAYLOAD,
  NO_CODE,
  NORMAL,
  PROTOCOL_ERROR,
  type Step
} from './fuzzer.js'

const CONTINUATION = 0
const TEXT = 1
const BINARY = 2
const CLOSE = 8
const PING = 9
const PONG = 10

const HELLO = 'Hello, world!'
const NOT_UTF8 = Buffer.from([0x00, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0x00, 0xff])

const WAIT: Step = { name: 'wait' }
/** Everything in one write. */
const TOGETHER = Number.POSITIVE_INFINITY

/** Steps that write frames. @param chop `TOGETHER`; 0: a write for each frame; or the size of the writes */
function send(chop: number, ...frames: (Frame | Buffer)[]): Step[] {
  const all = frames.map((one) => (Buffer.isBuffer(one) ? one : frame(one)))
  if (chop === TOGETHER) return [{ name: 'write', bytes: Buffer.concat(all), chop }]
  return all.flatMap((bytes): Step[] => [
    { name: 'write', bytes, chop: chop === 0 ? bytes.length : chop },
    ...(chop === 0 ? [WAIT] : [])
  ])
}

/** A case that ends with a clean close by the client. */
function clean(id: string, what: string, steps: () => Step[], ...events: (() => string)[]): Case {
  return { id, what, steps, events: () => events.map((event) => event()), closes: 'client', code: NORMAL }
}

/** A case in which the server fails the connection. @param events what it sends before that */
function fails(id: string, what: string, steps: () => Step[], events: string[] = [], code = PROTOCOL_ERROR): Case {
  return { id, what, steps, events: () => events, closes: 'server', code }
}

/** A case whose steps close the connection. */
function closes(id: string, what: string, steps: () => Step[], code: number, events: string[] = []): Case {
  return { id, what, steps, events: () => events, closes: 'client, in its steps', code }
}

/** The message that consists of the repeated `pattern`. */
function message(opcode: number, pattern: string | Buffer, length: number): Buffer {
  return Buffer.alloc(length, opcode === TEXT ? pattern : Buffer.from(pattern))
}

function kindOf(opcode: number): 'text' | 'binary' {
  return opcode === TEXT ? 'text' : 'binary'
}

/** A message that comes back. @param chop size of the writes */
function echo(id: string, opcode: number, pattern: string | Buffer, length: number, chop = TOGETHER): Case {
  const payload = () => message(opcode, pattern, length)
  return clean(
    id,
    `${kindOf(opcode)} message of ${length} bytes${chop === TOGETHER ? '' : `, in writes of ${chop}`}`,
    () => send(chop, { opcode, payload: payload() }),
    () => described(kindOf(opcode), payload())
  )
}

/** The frames of a message, each with `size` bytes of payload. */
export function fragmented(opcode: number, payload: Buffer, size: number, rsv = 0): Frame[] {
  const count = Math.max(1, Math.ceil(payload.length / size))
  return Array.from({ length: count }, (_, i) => ({
    opcode: i === 0 ? opcode : CONTINUATION,
    payload: payload.subarray(i * size, (i + 1) * size),
    fin: i === count - 1,
    rsv: i === 0 ? rsv : 0
  }))
}

/** A message in fragments that comes back. */
function echoFragments(id: string, opcode: number, pattern: string, length: number, size: number): Case {
  const payload = () => message(opcode, pattern, length)
  return clean(
    id,
    `${kindOf(opcode)} message of ${length} bytes in fragments of ${size}`,
    () => send(TOGETHER, ...fragmented(opcode, payload(), size)),
    () => described(kindOf(opcode), payload())
  )
}

const fill = (byte: number) => Buffer.from([byte])

/** 1: framing. */
const LENGTHS = [0, 125, 126, 127, 128, 65_535, 65_536]
const framing: Case[] = [
  ...LENGTHS.map((length, i) => echo(`1.1.${i + 1}`, TEXT, '*', length)),
  echo('1.1.8', TEXT, '*', 65_536, 997),
  ...LENGTHS.map((length, i) => echo(`1.2.${i + 1}`, BINARY, fill(0xfe), length)),
  echo('1.2.8', BINARY, fill(0xfe), 65_536, 997)
]

/** 2: pings and pongs. */
function ping(id: string, payload: Buffer | string, chop = TOGETHER): Case {
  return clean(
    id,
    `ping of ${payload.length} bytes${chop === TOGETHER ? '' : `, in writes of ${chop}`}`,
    () => send(chop, { opcode: PING, payload }),
    () => described('pong', payload)
  )
}

const TEN = Array.from({ length: 10 }, (_, i) => `payload-${i}`)

function tenPings(id: string, chop: number): Case {
  return clean(
    id,
    `ten pings${chop === TOGETHER ? '' : ', in writes of 1 byte'}`,
    () => TEN.flatMap((payload) => send(chop, { opcode: PING, payload })),
    ...TEN.map((payload) => () => described('pong', payload))
  )
}

const UNSOLICITED = { opcode: PONG, payload: 'unsolicited pong payload' }

const pings: Case[] = [
  ping('2.1', ''),
  ping('2.2', HELLO),
  ping('2.3', NOT_UTF8),
  ping('2.4', Buffer.alloc(125, 0xfe)),
  fails('2.5', 'ping of 126 bytes', () => send(TOGETHER, { opcode: PING, payload: Buffer.alloc(126, 0xfe) })),
  ping('2.6', Buffer.alloc(125, 0xfe), 1),
  clean('2.7', 'pong without payload', () => send(TOGETHER, { opcode: PONG })),
  clean('2.8', 'pong with payload', () => send(TOGETHER, UNSOLICITED)),
  clean(
    '2.9',
    'pong, then ping',
    () => send(TOGETHER, UNSOLICITED, { opcode: PING, payload: 'ping payload' }),
    () => described('pong', 'ping payload')
  ),
  tenPings('2.10', TOGETHER),
  tenPings('2.11', 1)
]

/** A message that comes back, before a frame that breaks the protocol, and a ping that is not answered. */
function failsAfterMessage(id: string, what: string, chop: number, bad: Frame): Case {
  const steps = () => send(chop, { opcode: TEXT, payload: HELLO }, bad, { opcode: PING })
  return fails(id, `message, ${what}, ping`, steps, [described('text', HELLO)])
}

/** 3: reserved bits. */
const reservedBits: Case[] = [
  fails('3.1', 'RSV 1', () => send(TOGETHER, { opcode: TEXT, payload: HELLO, rsv: 1 })),
  failsAfterMessage('3.2', 'RSV 2', TOGETHER, { opcode: TEXT, payload: HELLO, rsv: 2 }),
  failsAfterMessage('3.3', 'RSV 3, a write for each frame', 0, { opcode: TEXT, payload: HELLO, rsv: 3 }),
  failsAfterMessage('3.4', 'RSV 4, in writes of 1 byte', 1, { opcode: TEXT, payload: HELLO, rsv: 4 }),
  fails('3.5', 'binary message, RSV 5', () => send(TOGETHER, { opcode: BINARY, payload: NOT_UTF8, rsv: 5 })),
  fails('3.6', 'RSV 6', () => send(TOGETHER, { opcode: BINARY, payload: HELLO, rsv: 6 })),
  fails('3.7', 'close, RSV 7', () => send(TOGETHER, { opcode: CLOSE, rsv: 7 }))
]

/** 4: opcodes. @param first reserved opcode */
function reservedOpcodes(group: string, first: number): Case[] {
  const what = (opcode: number) => `opcode ${opcode}`
  return [
    fails(`${group}.1`, what(first), () => send(TOGETHER, { opcode: first })),
    fails(`${group}.2`, `${what(first + 1)}, with payload`, () =>
      send(TOGETHER, { opcode: first + 1, payload: 'reserved opcode payload' })
    ),
    failsAfterMessage(`${group}.3`, what(first + 2), TOGETHER, { opcode: first + 2 }),
    failsAfterMessage(`${group}.4`, what(first + 3), TOGETHER, { opcode: first + 3, payload: HELLO }),
    failsAfterMessage(`${group}.5`, `${what(first + 4)}, in writes of 1 byte`, 1, { opcode: first + 4, payload: HELLO })
  ]
}

/** 5: fragmentation. Each group of frames is sent in one write, in a write for each frame, and byte by byte. */
const CHOPS: [number, string][] = [
  [TOGETHER, 'in one write'],
  [0, 'a write for each frame'],
  [1, 'in writes of 1 byte']
]

const part = (opcode: number, fin: boolean, payload: string): Frame => ({ opcode, fin, payload })
const ONE_TWO = [part(TEXT, false, 'fragment1'), part(CONTINUATION, true, 'fragment2')]
const PING_BETWEEN = [ONE_TWO[0], part(PING, true, 'ping payload'), ONE_TWO[1]] as Frame[]
const ONE_TWO_TEXT = described('text', 'fragment1fragment2')

/** Cases that differ in their writes. @param make of one case */
function chopped(first: number, make: (id: string, how: string, chop: number) => Case): Case[] {
  return CHOPS.map(([chop, how], i) => make(`5.${first + i}`, how, chop))
}

function fiveFragments(id: string, chop: number): Case {
  const names = [1, 2, 3, 4, 5].map((n) => `fragment${n}`) as [string, string, string, string, string]
  return clean(
    id,
    `five fragments, two pings and a wait between them${chop === 0 ? ', a write for each frame' : ''}`,
    () => [
      ...send(chop, part(TEXT, false, names[0]), part(0, false, names[1]), part(PING, true, 'pongme 1!')),
      WAIT,
      ...send(chop, part(0, false, names[2]), part(0, false, names[3]), part(PING, true, 'pongme 2!')),
      ...send(chop, part(0, true, names[4]))
    ],
    () => described('pong', 'pongme 1!'),
    () => described('pong', 'pongme 2!'),
    () => described('text', names.join(''))
  )
}

/** A continuation without a message, then a message in fragments, and all of that again. */
function strayTwice(fin: boolean): Step[] {
  const stray = [part(0, fin, 'fragment1'), part(TEXT, false, 'fragment2'), part(0, true, 'fragment3')]
  return send(TOGETHER, ...stray, ...stray)
}

const fragmentation: Case[] = [
  fails('5.1', 'ping in fragments', () => send(TOGETHER, part(PING, false, 'fragment1'), part(0, true, 'fragment2'))),
  fails('5.2', 'pong in fragments', () => send(TOGETHER, part(PONG, false, 'fragment1'), part(0, true, 'fragment2'))),
  ...chopped(3, (id, how, chop) =>
    clean(
      id,
      `two fragments, ${how}`,
      () => send(chop, ...ONE_TWO),
      () => ONE_TWO_TEXT
    )
  ),
  ...chopped(6, (id, how, chop) =>
    clean(
      id,
      `two fragments, a ping between them, ${how}`,
      () => send(chop, ...PING_BETWEEN),
      () => described('pong', 'ping payload'),
      () => ONE_TWO_TEXT
    )
  ),
  ...chopped(9, (id, how, chop) =>
    fails(id, `continuation without a message, FIN, ${how}`, () =>
      send(chop, part(0, true, 'non-continuation payload'), part(TEXT, true, HELLO))
    )
  ),
  ...chopped(12, (id, how, chop) =>
    fails(id, `continuation without a message, no FIN, ${how}`, () =>
      send(chop, part(0, false, 'non-continuation payload'), part(TEXT, true, HELLO))
    )
  ),
  fails(
    '5.15',
    'two fragments, then a continuation without a message',
    () => send(TOGETHER, ...ONE_TWO, part(0, false, 'fragment3'), part(TEXT, true, 'fragment4')),
    [ONE_TWO_TEXT]
  ),
  fails('5.16', 'continuation without a message, no FIN, then a message, twice', () => strayTwice(false)),
  fails('5.17', 'continuation without a message, FIN, then a message, twice', () => strayTwice(true)),
  fails('5.18', 'two fragments, both with the opcode of text', () =>
    send(TOGETHER, part(TEXT, false, 'fragment1'), part(TEXT, true, 'fragment2'))
  ),
  fiveFragments('5.19', TOGETHER),
  fiveFragments('5.20', 0)
]

/** 6: UTF-8. */
const hex = (digits: string) => Buffer.from(digits.replaceAll(' ', ''), 'hex')
const KOSME = hex('ce ba e1 bd b9 cf 83 ce bc ce b5')
const EDITED = Buffer.from('edited')
const WITH_SURROGATE = Buffer.concat([KOSME, hex('ed a0 80'), EDITED])
const OUT_OF_RANGE = hex('f4 90 80 80')
const WITH_OUT_OF_RANGE = Buffer.concat([KOSME, OUT_OF_RANGE, EDITED])
const UMLAUTS = Buffer.from('Hello-µ@ßöäüàá-UTF-8!!')

/** Text in fragments of `size` bytes. */
function utf8(id: string, what: string, isValid: boolean, bytes: Buffer, size = Number.POSITIVE_INFINITY): Case {
  const frames = () => (size > bytes.length ? [{ opcode: TEXT, payload: bytes }] : fragmented(TEXT, bytes, size))
  const steps = () => send(TOGETHER, ...frames())
  return isValid
    ? clean(id, what, steps, () => described('text', bytes))
    : fails(id, `${what}, not valid`, steps, [], INVALID_PAYLOAD)
}

/** Text that becomes invalid in its second part. @param cuts where the parts begin. @param asFrames or in one frame */
function lateFault(id: string, cuts: [number, number], asFrames: boolean): Case {
  const bytes = WITH_OUT_OF_RANGE
  const parts = [bytes.subarray(0, cuts[0]), bytes.subarray(...cuts), bytes.subarray(cuts[1])] as Buffer[]
  const steps = (): Step[] => {
    const whole = frame({ opcode: TEXT, payload: bytes })
    const header = whole.length - bytes.length
    const pieces = asFrames
      ? parts.map((payload, i) => frame({ opcode: i === 0 ? TEXT : 0, payload, fin: i === 2 }))
      : [
          whole.subarray(0, header + cuts[0]),
          whole.subarray(header + cuts[0], header + cuts[1]),
          whole.subarray(header + cuts[1])
        ]
    return pieces.flatMap((piece) => [...send(TOGETHER, piece), WAIT])
  }
  const how = asFrames ? 'three fragments' : 'three writes'
  return fails(id, `text in ${how}, invalid from byte ${cuts[0]} on`, steps, [], INVALID_PAYLOAD)
}

const range = (first: number, end: number) => Array.from({ length: end - first }, (_, i) => first + i)
const lonely = (first: number, end: number) => Buffer.from(range(first, end).flatMap((byte) => [byte, 0x20]))
const MISSING_LAST = [
  'c0',
  'e080',
  'f08080',
  'f8808080',
  'fc80808080',
  'df',
  'efbf',
  'f7bfbf',
  'fbbfbfbf',
  'fdbfbfbfbf'
]
/** U+nFFFE and U+nFFFF of all planes. */
const NON_CHARACTERS = range(0, 17).flatMap((plane) =>
  [0xfffe, 0xffff].map((low) => Buffer.from(String.fromCodePoint(plane * 0x1_0000 + low)))
)

/** From 6.5 on: sequences from https://www.cl.cam.ac.uk/~mgk25/ucs/examples/UTF-8-test.txt */
const SEQUENCES: [what: string, isValid: boolean | ((index: number) => boolean), bytes: (string | Buffer)[]][] = [
  [
    'valid sequences',
    true,
    [...['24', 'c2a2', 'e282ac', 'f0a4ada2'].map((middle) => hex(`68656c6c6f${middle}776f726c64`)), KOSME]
  ],
  [
    'prefixes of a string',
    (index) => [1, 4, 6, 8, 10].includes(index),
    range(1, KOSME.length + 1).map((length) => KOSME.subarray(0, length))
  ],
  ['first sequence of a length', true, ['00', 'c280', 'e0a080', 'f0908080']],
  ['first sequence of 5 and 6 bytes', false, ['f888808080', 'fc8480808080']],
  ['last sequence of a length', true, ['7f', 'dfbf', 'efbfbf', 'f48fbfbf']],
  ['last sequence of 4, 5 and 6 bytes', false, ['f7bfbfbf', 'fbbfbfbfbf', 'fdbfbfbfbfbf']],
  ['boundaries', (index) => index < 4, ['ed9fbf', 'ee8080', 'efbfbd', 'f48fbfbf', 'f4908080']],
  [
    'unexpected continuation bytes',
    false,
    ['80', 'bf', '80bf', '80bf80', '80bf80bf', '80bf80bf80', '80bf80bf80bf', Buffer.from(range(0x80, 0xbf))]
  ],
  [
    'lonely start bytes',
    false,
    [lonely(0xc0, 0xdf), lonely(0xe0, 0xef), lonely(0xf0, 0xf7), lonely(0xf8, 0xfb), lonely(0xfc, 0xfd)]
  ],
  ['last continuation byte missing', false, MISSING_LAST],
  ['several incomplete sequences', false, [MISSING_LAST.join('')]],
  ['impossible bytes', false, ['fe', 'ff', 'fefeffff']],
  ['overlong ASCII', false, ['c0af', 'e080af', 'f08080af', 'f8808080af', 'fc80808080af']],
  ['overlong maximum', false, ['c1bf', 'e09fbf', 'f08fbfbf', 'f887bfbfbf', 'fc83bfbfbfbf']],
  ['overlong NUL', false, ['c080', 'e08080', 'f0808080', 'f880808080', 'fc8080808080']],
  ['surrogates', false, ['eda080', 'edadbf', 'edae80', 'edafbf', 'edb080', 'edbe80', 'edbfbf']],
  [
    'pairs of surrogates',
    false,
    ['eda080', 'edadbf', 'edae80', 'edafbf'].flatMap((high) => ['edb080', 'edbfbf'].map((low) => high + low))
  ],
  ['non-characters', true, NON_CHARACTERS],
  ['specials', true, ['efbfb9', 'efbfba', 'efbfbb', 'efbfbc', 'efbfbd', 'efbfbe', 'efbfbf']]
]

const text: Case[] = [
  utf8('6.1.1', 'empty', true, Buffer.alloc(0)),
  clean(
    '6.1.2',
    'three empty fragments',
    () => send(TOGETHER, part(TEXT, false, ''), part(0, false, ''), part(0, true, '')),
    () => described('text', '')
  ),
  clean(
    '6.1.3',
    'three fragments, the first and the last empty',
    () => send(TOGETHER, part(TEXT, false, ''), part(0, false, 'middle frame payload'), part(0, true, '')),
    () => described('text', 'middle frame payload')
  ),
  utf8('6.2.1', 'umlauts', true, UMLAUTS),
  utf8('6.2.2', 'umlauts, cut between characters', true, UMLAUTS, Buffer.byteLength('Hello-µ@ßöä')),
  utf8('6.2.3', 'umlauts, in fragments of 1 byte', true, UMLAUTS, 1),
  utf8('6.2.4', 'Greek, in fragments of 1 byte', true, KOSME, 1),
  utf8('6.3.1', 'surrogate', false, WITH_SURROGATE),
  utf8('6.3.2', 'surrogate, in fragments of 1 byte', false, WITH_SURROGATE, 1),
  lateFault('6.4.1', [11, 15], true),
  lateFault('6.4.2', [12, 13], true),
  lateFault('6.4.3', [11, 15], false),
  lateFault('6.4.4', [12, 13], false),
  ...SEQUENCES.flatMap(([what, isValid, all], group) =>
    all.map((bytes, index) =>
      utf8(
        `6.${group + 5}.${index + 1}`,
        what,
        typeof isValid === 'boolean' ? isValid : isValid(index),
        typeof bytes === 'string' ? hex(bytes) : bytes
      )
    )
  )
]

/** 7: closing. */
const LONG = () => message(TEXT, 'BAsd7&jh23', 256 * 1024)
const VALID_CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
const INVALID_CODES = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999]

const close = (code?: number, reason?: string | Buffer) => () => send(TOGETHER, closeFrame(code, reason))

const closing: Case[] = [
  clean(
    '7.1.1',
    'message, then close',
    () => send(TOGETHER, { opcode: TEXT, payload: 'Hello World!' }),
    () => described('text', 'Hello World!')
  ),
  closes('7.1.2', 'two close frames', () => send(TOGETHER, closeFrame(NORMAL), { opcode: CLOSE }), NORMAL),
  closes('7.1.3', 'close, then ping', () => send(TOGETHER, closeFrame(NORMAL), { opcode: PING }), NORMAL),
  closes(
    '7.1.4',
    'close, then message',
    () => send(TOGETHER, closeFrame(NORMAL), { opcode: TEXT, payload: 'Hello World!' }),
    NORMAL
  ),
  closes(
    '7.1.5',
    'fragment, close, fragment',
    () => send(TOGETHER, ONE_TWO[0] as Frame, closeFrame(NORMAL), ONE_TWO[1] as Frame),
    NORMAL
  ),
  {
    ...closes(
      '7.1.6',
      'message of 256 KiB, message, close, ping',
      () =>
        send(
          TOGETHER,
          { opcode: TEXT, payload: LONG() },
          { opcode: TEXT, payload: 'Hello World!' },
          closeFrame(NORMAL),
          { opcode: PING }
        ),
      NORMAL
    ),
    events: () => [described('text', LONG()), described('text', 'Hello World!')]
  },
  closes('7.3.1', 'close without payload', close(), NO_CODE),
  closes(
    '7.3.2',
    'close with a payload of 1 byte',
    () => send(TOGETHER, { opcode: CLOSE, payload: 'a' }),
    PROTOCOL_ERROR
  ),
  closes('7.3.3', 'close with a code', close(NORMAL), NORMAL),
  closes('7.3.4', 'close with a reason', close(NORMAL, 'Hello World!'), NORMAL),
  closes('7.3.5', 'close with a reason of 123 bytes', close(NORMAL, '*'.repeat(123)), NORMAL),
  closes('7.3.6', 'close with a reason of 124 bytes', close(NORMAL, '*'.repeat(124)), PROTOCOL_ERROR),
  closes('7.5.1', 'close with a reason that is not UTF-8', close(NORMAL, WITH_SURROGATE), INVALID_PAYLOAD),
  ...VALID_CODES.map((code, i) => closes(`7.7.${i + 1}`, `close with code ${code}`, close(code), code)),
  ...INVALID_CODES.map((code, i) => closes(`7.9.${i + 1}`, `close with code ${code}`, close(code), PROTOCOL_ERROR)),
  closes('7.13.1', 'close with code 5000', close(5000), PROTOCOL_ERROR),
  closes('7.13.2', 'close with code 65535', close(65_535), PROTOCOL_ERROR)
]

/** 9: limits. */
const KI = 1024
const MI = 1024 * KI
const TEXT_PATTERN = 'BAsd7&jh23'
const BINARY_PATTERN = hex('00 fe 23 fa f0')
const SIZES = [64 * KI, 256 * KI, MI, 4 * MI, 8 * MI, 16 * MI]
const FRAGMENTS = [64, 256, KI, 4 * KI, 16 * KI, 64 * KI, 256 * KI, MI, 4 * MI]
const WRITES = [64, 128, 256, 512, KI, 2 * KI]

const limits: Case[] = [
  ...SIZES.map((size, i) => echo(`9.1.${i + 1}`, TEXT, TEXT_PATTERN, size)),
  ...SIZES.map((size, i) => echo(`9.2.${i + 1}`, BINARY, BINARY_PATTERN, size)),
  ...FRAGMENTS.map((size, i) => echoFragments(`9.3.${i + 1}`, TEXT, '*', 4 * MI, size)),
  ...FRAGMENTS.map((size, i) => echoFragments(`9.4.${i + 1}`, BINARY, i === 0 ? '\xfe' : '*', 4 * MI, size)),
  ...WRITES.map((size, i) => echo(`9.5.${i + 1}`, TEXT, TEXT_PATTERN, MI, size)),
  ...WRITES.map((size, i) => echo(`9.6.${i + 1}`, BINARY, BINARY_PATTERN, MI, size))
]

/** Cases 9.7 and 9.8: messages one after the other, each sent when the last one has come back. */
export const roundTrips = [TEXT, BINARY].flatMap((opcode) =>
  [0, 16, 64, 256, 1024, 4096].map((length, i) => ({
    id: `9.${opcode === TEXT ? 7 : 8}.${i + 1}`,
    what: `${kindOf(opcode)} messages of ${length} bytes`,
    opcode,
    payload: message(opcode, opcode === TEXT ? '*' : fill(0xfe), length)
  }))
)

/** 10: a message that the client sends in fragments. */
const misc: Case[] = [echoFragments('10.1.1', TEXT, '*', 65_536, 1300)]

/** Returns arguments for `test.each()`: number, description, case. */
export function named<C extends { id: string; what: string }>(all: C[]): [id: string, what: string, one: C][] {
  return all.map((one) => [one.id, one.what, one])
}

export const cases: Case[] = [
  ...framing,
  ...pings,
  ...reservedBits,
  ...reservedOpcodes('4.1', 3),
  ...reservedOpcodes('4.2', 11),
  ...fragmentation,
  ...text,
  ...closing,
  ...limits,
  ...misc
]
