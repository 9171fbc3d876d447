/** What the causes mean that protocols and TLS add to those of the system. */

/** What is wrong, by cause. */
const MEANINGS: Record<string, string> = {
  CERT_HAS_EXPIRED: "the server's certificate has expired: renew it, or add --insecure",
  CERT_NOT_YET_VALID: "the server's certificate is not valid yet: check the clocks",
  CONNACK_1: 'the server does not speak MQTT 3.1.1',
  CONNACK_2: 'the server refuses the client identifier: set another one with --client-id',
  CONNACK_3: 'the MQTT service is not available: look at the log of the server',
  CONNACK_4: 'the server refuses the user name or password: check those of the URL',
  CONNACK_5: 'the server does not authorize the client: check the user and password of the URL',
  ERR_TLS_CERT_ALTNAME_INVALID: "the server's certificate is for another name: set it with --sni, or add --insecure",
  GARBAGE: 'the server sent bytes that the protocol of the URL does not allow: check the scheme and the port',
  MISMATCH: 'something else than the message came back',
  NO_PONG: 'a ping was not answered in time: see whether the server is overloaded, or raise --timeout',
  OTHER: 'an agent counts the rarest causes together if there are more than 100: look at the log of the server',
  STALLED: 'the server stopped reading: see whether it is stopped or overloaded',
  SUBACK_128: 'the server refuses the subscription: check --subscribe and the rights of the user',
  TIMEOUT: 'the server did not answer in time: see whether it is overloaded, or raise --timeout',
  TRUNCATED: 'the server ended the connection in the middle of an answer: see whether it ended',
  WS_FRAME: 'the server sent a frame that RFC 6455 does not allow',
  WS_HANDSHAKE:
    'the headers of the answer to the handshake are wrong: check that a WebSocket server answers there, ' +
    'and --subprotocol'
}

/** Causes of OpenSSL, whose names differ between versions. */
const PATTERNS: readonly (readonly [pattern: RegExp, meaning: string])[] = [
  [
    /SELF_SIGNED|UNABLE_TO_(?:VERIFY|GET_ISSUER)/,
    "no authority that is trusted has signed the server's certificate: give its certificate with --ca, " +
      'or add --insecure'
  ],
  [/CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE/, 'the server demands a certificate of the client: add --cert and --key'],
  [/^ERR_SSL_.*ALERT_(?:BAD_CERTIFICATE|UNKNOWN_CA)/, 'the server does not accept the certificate of --cert'],
  [/WRONG_VERSION|PACKET_LENGTH|UNSUPPORTED_PROTOCOL|^EPROTO$/, 'the server does not speak TLS on this port'],
  [/^ERR_(?:SSL|TLS)/, 'TLS failed: look at the log of the server'],
  [/^HTTP_4/, 'the server refuses the request: check the path, the headers and the user of the URL'],
  [/^HTTP_5/, 'the server failed: look at its log'],
  [/^HTTP_/, 'the server does not agree to speak WebSocket: check the path'],
  [/^WS_\d/, 'the server closed WebSockets with this code: look at its log and its limits']
]

/** Causes of OpenSSL whose remedy is the agents' own, because no certificate is sent to them. */
const OF_AGENTS: readonly (readonly [pattern: RegExp, meaning: string])[] = [
  [
    /SELF_SIGNED|UNABLE_TO_(?:VERIFY|GET_ISSUER)/,
    "no authority that the agents trust has signed the server's certificate: start the agents with " +
      'NODE_EXTRA_CA_CERTS=FILE, or add --insecure'
  ],
  [
    /CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE/,
    'the server demands a certificate of the client, which a swarm does not have: connect from this machine'
  ]
]

/**
 * Returns what a cause means and what to do, if it comes from a protocol or from TLS.
 *
 * @param isSwarm whether agents connected
 */
export function meaningOf(cause: string, isSwarm: boolean): string | undefined {
  if (Object.hasOwn(MEANINGS, cause)) return MEANINGS[cause]
  return (isSwarm ? [...OF_AGENTS, ...PATTERNS] : PATTERNS).find(([pattern]) => pattern.test(cause))?.[1]
}
