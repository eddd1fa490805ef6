"""Receiving from MQTT brokers: payloads in, acknowledged in their order after their commit.

topics     what a topic says: whose payload it is, and how it is read
wire       MQTT 5 as a subscriber speaks it, sans-IO
window     what came and is not acknowledged, in order
link       one connection to a broker
carried    a payload as a conversation that is logged in already
payloads   from payload to conversations
presence   who says that it is connected
sessions   which sessions the broker keeps for us
subscription  connect, subscribe, connect again
brokers    all of a process
"""
