from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RecReg(_message.Message):
    __slots__ = ("mID", "general", "photo", "nav", "unidt", "candt", "llsdt", "other", "icondt", "obddt", "log")
    class General(_message.Message):
        __slots__ = ("Time", "IDFAS", "IDDrv", "FLG", "Mileage", "VImp", "TImp", "Uboard", "BatLife", "SumAcc", "Phone", "AmtrX", "AmtrY", "AmtrZ", "TachoCardID", "AccelStatus", "HoursKoef", "GsmSignalQuality", "WifiSignalQuality")
        TIME_FIELD_NUMBER: _ClassVar[int]
        IDFAS_FIELD_NUMBER: _ClassVar[int]
        IDDRV_FIELD_NUMBER: _ClassVar[int]
        FLG_FIELD_NUMBER: _ClassVar[int]
        MILEAGE_FIELD_NUMBER: _ClassVar[int]
        VIMP_FIELD_NUMBER: _ClassVar[int]
        TIMP_FIELD_NUMBER: _ClassVar[int]
        UBOARD_FIELD_NUMBER: _ClassVar[int]
        BATLIFE_FIELD_NUMBER: _ClassVar[int]
        SUMACC_FIELD_NUMBER: _ClassVar[int]
        PHONE_FIELD_NUMBER: _ClassVar[int]
        AMTRX_FIELD_NUMBER: _ClassVar[int]
        AMTRY_FIELD_NUMBER: _ClassVar[int]
        AMTRZ_FIELD_NUMBER: _ClassVar[int]
        TACHOCARDID_FIELD_NUMBER: _ClassVar[int]
        ACCELSTATUS_FIELD_NUMBER: _ClassVar[int]
        HOURSKOEF_FIELD_NUMBER: _ClassVar[int]
        GSMSIGNALQUALITY_FIELD_NUMBER: _ClassVar[int]
        WIFISIGNALQUALITY_FIELD_NUMBER: _ClassVar[int]
        Time: int
        IDFAS: int
        IDDrv: bytes
        FLG: int
        Mileage: int
        VImp: int
        TImp: int
        Uboard: int
        BatLife: int
        SumAcc: int
        Phone: bytes
        AmtrX: int
        AmtrY: int
        AmtrZ: int
        TachoCardID: bytes
        AccelStatus: int
        HoursKoef: int
        GsmSignalQuality: int
        WifiSignalQuality: int
        def __init__(self, Time: _Optional[int] = ..., IDFAS: _Optional[int] = ..., IDDrv: _Optional[bytes] = ..., FLG: _Optional[int] = ..., Mileage: _Optional[int] = ..., VImp: _Optional[int] = ..., TImp: _Optional[int] = ..., Uboard: _Optional[int] = ..., BatLife: _Optional[int] = ..., SumAcc: _Optional[int] = ..., Phone: _Optional[bytes] = ..., AmtrX: _Optional[int] = ..., AmtrY: _Optional[int] = ..., AmtrZ: _Optional[int] = ..., TachoCardID: _Optional[bytes] = ..., AccelStatus: _Optional[int] = ..., HoursKoef: _Optional[int] = ..., GsmSignalQuality: _Optional[int] = ..., WifiSignalQuality: _Optional[int] = ...) -> None: ...
    class Photo(_message.Message):
        __slots__ = ("POSBLK", "SZPHOTO", "SIZEBLK", "IMGDAT", "IDPH", "IMGSTAT")
        POSBLK_FIELD_NUMBER: _ClassVar[int]
        SZPHOTO_FIELD_NUMBER: _ClassVar[int]
        SIZEBLK_FIELD_NUMBER: _ClassVar[int]
        IMGDAT_FIELD_NUMBER: _ClassVar[int]
        IDPH_FIELD_NUMBER: _ClassVar[int]
        IMGSTAT_FIELD_NUMBER: _ClassVar[int]
        POSBLK: int
        SZPHOTO: int
        SIZEBLK: int
        IMGDAT: bytes
        IDPH: int
        IMGSTAT: int
        def __init__(self, POSBLK: _Optional[int] = ..., SZPHOTO: _Optional[int] = ..., SIZEBLK: _Optional[int] = ..., IMGDAT: _Optional[bytes] = ..., IDPH: _Optional[int] = ..., IMGSTAT: _Optional[int] = ...) -> None: ...
    class NAV(_message.Message):
        __slots__ = ("LAT", "LON", "GPSVel", "GPSDir", "GPSNSat", "GPSAlt", "GPSTime")
        LAT_FIELD_NUMBER: _ClassVar[int]
        LON_FIELD_NUMBER: _ClassVar[int]
        GPSVEL_FIELD_NUMBER: _ClassVar[int]
        GPSDIR_FIELD_NUMBER: _ClassVar[int]
        GPSNSAT_FIELD_NUMBER: _ClassVar[int]
        GPSALT_FIELD_NUMBER: _ClassVar[int]
        GPSTIME_FIELD_NUMBER: _ClassVar[int]
        LAT: int
        LON: int
        GPSVel: int
        GPSDir: int
        GPSNSat: int
        GPSAlt: int
        GPSTime: int
        def __init__(self, LAT: _Optional[int] = ..., LON: _Optional[int] = ..., GPSVel: _Optional[int] = ..., GPSDir: _Optional[int] = ..., GPSNSat: _Optional[int] = ..., GPSAlt: _Optional[int] = ..., GPSTime: _Optional[int] = ...) -> None: ...
    class UniDt(_message.Message):
        __slots__ = ("UniVal0", "UniVal1", "UniVal2", "UniVal3", "UniVal4", "UniVal5")
        UNIVAL0_FIELD_NUMBER: _ClassVar[int]
        UNIVAL1_FIELD_NUMBER: _ClassVar[int]
        UNIVAL2_FIELD_NUMBER: _ClassVar[int]
        UNIVAL3_FIELD_NUMBER: _ClassVar[int]
        UNIVAL4_FIELD_NUMBER: _ClassVar[int]
        UNIVAL5_FIELD_NUMBER: _ClassVar[int]
        UniVal0: int
        UniVal1: int
        UniVal2: int
        UniVal3: int
        UniVal4: int
        UniVal5: int
        def __init__(self, UniVal0: _Optional[int] = ..., UniVal1: _Optional[int] = ..., UniVal2: _Optional[int] = ..., UniVal3: _Optional[int] = ..., UniVal4: _Optional[int] = ..., UniVal5: _Optional[int] = ...) -> None: ...
    class CanDt(_message.Message):
        __slots__ = ("SPN70", "SPN91", "SPN96", "SPN100", "SPN110", "SPN174", "SPN175", "SPN182", "SPN184", "SPN190", "SPN244", "SPN245", "SPN247", "SPN250", "SPN521", "SPN522", "SPN527", "SPN582", "SPN597", "SPN598", "SPN914", "SPN916", "SPN928", "SPN1624", "SPN1821", "SPN1856")
        SPN70_FIELD_NUMBER: _ClassVar[int]
        SPN91_FIELD_NUMBER: _ClassVar[int]
        SPN96_FIELD_NUMBER: _ClassVar[int]
        SPN100_FIELD_NUMBER: _ClassVar[int]
        SPN110_FIELD_NUMBER: _ClassVar[int]
        SPN174_FIELD_NUMBER: _ClassVar[int]
        SPN175_FIELD_NUMBER: _ClassVar[int]
        SPN182_FIELD_NUMBER: _ClassVar[int]
        SPN184_FIELD_NUMBER: _ClassVar[int]
        SPN190_FIELD_NUMBER: _ClassVar[int]
        SPN244_FIELD_NUMBER: _ClassVar[int]
        SPN245_FIELD_NUMBER: _ClassVar[int]
        SPN247_FIELD_NUMBER: _ClassVar[int]
        SPN250_FIELD_NUMBER: _ClassVar[int]
        SPN521_FIELD_NUMBER: _ClassVar[int]
        SPN522_FIELD_NUMBER: _ClassVar[int]
        SPN527_FIELD_NUMBER: _ClassVar[int]
        SPN582_FIELD_NUMBER: _ClassVar[int]
        SPN597_FIELD_NUMBER: _ClassVar[int]
        SPN598_FIELD_NUMBER: _ClassVar[int]
        SPN914_FIELD_NUMBER: _ClassVar[int]
        SPN916_FIELD_NUMBER: _ClassVar[int]
        SPN928_FIELD_NUMBER: _ClassVar[int]
        SPN1624_FIELD_NUMBER: _ClassVar[int]
        SPN1821_FIELD_NUMBER: _ClassVar[int]
        SPN1856_FIELD_NUMBER: _ClassVar[int]
        SPN70: int
        SPN91: int
        SPN96: int
        SPN100: int
        SPN110: int
        SPN174: int
        SPN175: int
        SPN182: int
        SPN184: int
        SPN190: int
        SPN244: int
        SPN245: int
        SPN247: int
        SPN250: int
        SPN521: int
        SPN522: int
        SPN527: int
        SPN582: _containers.RepeatedScalarFieldContainer[int]
        SPN597: int
        SPN598: int
        SPN914: int
        SPN916: int
        SPN928: _containers.RepeatedScalarFieldContainer[int]
        SPN1624: int
        SPN1821: int
        SPN1856: int
        def __init__(self, SPN70: _Optional[int] = ..., SPN91: _Optional[int] = ..., SPN96: _Optional[int] = ..., SPN100: _Optional[int] = ..., SPN110: _Optional[int] = ..., SPN174: _Optional[int] = ..., SPN175: _Optional[int] = ..., SPN182: _Optional[int] = ..., SPN184: _Optional[int] = ..., SPN190: _Optional[int] = ..., SPN244: _Optional[int] = ..., SPN245: _Optional[int] = ..., SPN247: _Optional[int] = ..., SPN250: _Optional[int] = ..., SPN521: _Optional[int] = ..., SPN522: _Optional[int] = ..., SPN527: _Optional[int] = ..., SPN582: _Optional[_Iterable[int]] = ..., SPN597: _Optional[int] = ..., SPN598: _Optional[int] = ..., SPN914: _Optional[int] = ..., SPN916: _Optional[int] = ..., SPN928: _Optional[_Iterable[int]] = ..., SPN1624: _Optional[int] = ..., SPN1821: _Optional[int] = ..., SPN1856: _Optional[int] = ...) -> None: ...
    class LLSDt(_message.Message):
        __slots__ = ("TLLS1", "CLLS1", "FLLS1", "TLLS2", "CLLS2", "FLLS2", "TLLS3", "CLLS3", "FLLS3", "TLLS4", "CLLS4", "FLLS4", "TLLS5", "CLLS5", "FLLS5", "TLLS6", "CLLS6", "FLLS6", "TLLS7", "CLLS7", "FLLS7", "TLLS8", "CLLS8", "FLLS8", "LLSRefKoef")
        TLLS1_FIELD_NUMBER: _ClassVar[int]
        CLLS1_FIELD_NUMBER: _ClassVar[int]
        FLLS1_FIELD_NUMBER: _ClassVar[int]
        TLLS2_FIELD_NUMBER: _ClassVar[int]
        CLLS2_FIELD_NUMBER: _ClassVar[int]
        FLLS2_FIELD_NUMBER: _ClassVar[int]
        TLLS3_FIELD_NUMBER: _ClassVar[int]
        CLLS3_FIELD_NUMBER: _ClassVar[int]
        FLLS3_FIELD_NUMBER: _ClassVar[int]
        TLLS4_FIELD_NUMBER: _ClassVar[int]
        CLLS4_FIELD_NUMBER: _ClassVar[int]
        FLLS4_FIELD_NUMBER: _ClassVar[int]
        TLLS5_FIELD_NUMBER: _ClassVar[int]
        CLLS5_FIELD_NUMBER: _ClassVar[int]
        FLLS5_FIELD_NUMBER: _ClassVar[int]
        TLLS6_FIELD_NUMBER: _ClassVar[int]
        CLLS6_FIELD_NUMBER: _ClassVar[int]
        FLLS6_FIELD_NUMBER: _ClassVar[int]
        TLLS7_FIELD_NUMBER: _ClassVar[int]
        CLLS7_FIELD_NUMBER: _ClassVar[int]
        FLLS7_FIELD_NUMBER: _ClassVar[int]
        TLLS8_FIELD_NUMBER: _ClassVar[int]
        CLLS8_FIELD_NUMBER: _ClassVar[int]
        FLLS8_FIELD_NUMBER: _ClassVar[int]
        LLSREFKOEF_FIELD_NUMBER: _ClassVar[int]
        TLLS1: int
        CLLS1: int
        FLLS1: int
        TLLS2: int
        CLLS2: int
        FLLS2: int
        TLLS3: int
        CLLS3: int
        FLLS3: int
        TLLS4: int
        CLLS4: int
        FLLS4: int
        TLLS5: int
        CLLS5: int
        FLLS5: int
        TLLS6: int
        CLLS6: int
        FLLS6: int
        TLLS7: int
        CLLS7: int
        FLLS7: int
        TLLS8: int
        CLLS8: int
        FLLS8: int
        LLSRefKoef: _containers.RepeatedScalarFieldContainer[int]
        def __init__(self, TLLS1: _Optional[int] = ..., CLLS1: _Optional[int] = ..., FLLS1: _Optional[int] = ..., TLLS2: _Optional[int] = ..., CLLS2: _Optional[int] = ..., FLLS2: _Optional[int] = ..., TLLS3: _Optional[int] = ..., CLLS3: _Optional[int] = ..., FLLS3: _Optional[int] = ..., TLLS4: _Optional[int] = ..., CLLS4: _Optional[int] = ..., FLLS4: _Optional[int] = ..., TLLS5: _Optional[int] = ..., CLLS5: _Optional[int] = ..., FLLS5: _Optional[int] = ..., TLLS6: _Optional[int] = ..., CLLS6: _Optional[int] = ..., FLLS6: _Optional[int] = ..., TLLS7: _Optional[int] = ..., CLLS7: _Optional[int] = ..., FLLS7: _Optional[int] = ..., TLLS8: _Optional[int] = ..., CLLS8: _Optional[int] = ..., FLLS8: _Optional[int] = ..., LLSRefKoef: _Optional[_Iterable[int]] = ...) -> None: ...
    class Other(_message.Message):
        __slots__ = ("onewire", "pherip", "excan", "tahoddd", "apc", "mobileeye", "safedriving", "gencomm", "fuelsensormodbus", "weightcontrol")
        class OneWire(_message.Message):
            __slots__ = ("OneWire1", "OneWire2", "OneWire3", "OneWire4", "OneWire5", "OneWire6", "OneWire7", "OneWire8")
            ONEWIRE1_FIELD_NUMBER: _ClassVar[int]
            ONEWIRE2_FIELD_NUMBER: _ClassVar[int]
            ONEWIRE3_FIELD_NUMBER: _ClassVar[int]
            ONEWIRE4_FIELD_NUMBER: _ClassVar[int]
            ONEWIRE5_FIELD_NUMBER: _ClassVar[int]
            ONEWIRE6_FIELD_NUMBER: _ClassVar[int]
            ONEWIRE7_FIELD_NUMBER: _ClassVar[int]
            ONEWIRE8_FIELD_NUMBER: _ClassVar[int]
            OneWire1: int
            OneWire2: int
            OneWire3: int
            OneWire4: int
            OneWire5: int
            OneWire6: int
            OneWire7: int
            OneWire8: int
            def __init__(self, OneWire1: _Optional[int] = ..., OneWire2: _Optional[int] = ..., OneWire3: _Optional[int] = ..., OneWire4: _Optional[int] = ..., OneWire5: _Optional[int] = ..., OneWire6: _Optional[int] = ..., OneWire7: _Optional[int] = ..., OneWire8: _Optional[int] = ...) -> None: ...
        class Pherip(_message.Message):
            __slots__ = ("PassengerIn", "PassengerOut", "DoorMask", "DriverStatus", "TPMS", "iQFreeze")
            PASSENGERIN_FIELD_NUMBER: _ClassVar[int]
            PASSENGEROUT_FIELD_NUMBER: _ClassVar[int]
            DOORMASK_FIELD_NUMBER: _ClassVar[int]
            DRIVERSTATUS_FIELD_NUMBER: _ClassVar[int]
            TPMS_FIELD_NUMBER: _ClassVar[int]
            IQFREEZE_FIELD_NUMBER: _ClassVar[int]
            PassengerIn: int
            PassengerOut: int
            DoorMask: int
            DriverStatus: int
            TPMS: bytes
            iQFreeze: bytes
            def __init__(self, PassengerIn: _Optional[int] = ..., PassengerOut: _Optional[int] = ..., DoorMask: _Optional[int] = ..., DriverStatus: _Optional[int] = ..., TPMS: _Optional[bytes] = ..., iQFreeze: _Optional[bytes] = ...) -> None: ...
        class ExCAN(_message.Message):
            __slots__ = ("SPNid", "SPNval", "Adr64TEREX", "Adr65TEREX", "Adr66TEREX", "Adr67TEREX", "Adr11TEREX", "Adr69TEREX")
            SPNID_FIELD_NUMBER: _ClassVar[int]
            SPNVAL_FIELD_NUMBER: _ClassVar[int]
            ADR64TEREX_FIELD_NUMBER: _ClassVar[int]
            ADR65TEREX_FIELD_NUMBER: _ClassVar[int]
            ADR66TEREX_FIELD_NUMBER: _ClassVar[int]
            ADR67TEREX_FIELD_NUMBER: _ClassVar[int]
            ADR11TEREX_FIELD_NUMBER: _ClassVar[int]
            ADR69TEREX_FIELD_NUMBER: _ClassVar[int]
            SPNid: _containers.RepeatedScalarFieldContainer[int]
            SPNval: _containers.RepeatedScalarFieldContainer[int]
            Adr64TEREX: int
            Adr65TEREX: int
            Adr66TEREX: int
            Adr67TEREX: int
            Adr11TEREX: _containers.RepeatedScalarFieldContainer[int]
            Adr69TEREX: int
            def __init__(self, SPNid: _Optional[_Iterable[int]] = ..., SPNval: _Optional[_Iterable[int]] = ..., Adr64TEREX: _Optional[int] = ..., Adr65TEREX: _Optional[int] = ..., Adr66TEREX: _Optional[int] = ..., Adr67TEREX: _Optional[int] = ..., Adr11TEREX: _Optional[_Iterable[int]] = ..., Adr69TEREX: _Optional[int] = ...) -> None: ...
        class TahoDDD(_message.Message):
            __slots__ = ("BLKPOS", "FILEDATA", "CARDID", "STATUSDATA")
            BLKPOS_FIELD_NUMBER: _ClassVar[int]
            FILEDATA_FIELD_NUMBER: _ClassVar[int]
            CARDID_FIELD_NUMBER: _ClassVar[int]
            STATUSDATA_FIELD_NUMBER: _ClassVar[int]
            BLKPOS: int
            FILEDATA: bytes
            CARDID: bytes
            STATUSDATA: int
            def __init__(self, BLKPOS: _Optional[int] = ..., FILEDATA: _Optional[bytes] = ..., CARDID: _Optional[bytes] = ..., STATUSDATA: _Optional[int] = ...) -> None: ...
        class APC(_message.Message):
            __slots__ = ("Status1", "Status2", "Status3", "Status4", "In1", "Out1", "In2", "Out2", "In3", "Out3", "In4", "Out4")
            STATUS1_FIELD_NUMBER: _ClassVar[int]
            STATUS2_FIELD_NUMBER: _ClassVar[int]
            STATUS3_FIELD_NUMBER: _ClassVar[int]
            STATUS4_FIELD_NUMBER: _ClassVar[int]
            IN1_FIELD_NUMBER: _ClassVar[int]
            OUT1_FIELD_NUMBER: _ClassVar[int]
            IN2_FIELD_NUMBER: _ClassVar[int]
            OUT2_FIELD_NUMBER: _ClassVar[int]
            IN3_FIELD_NUMBER: _ClassVar[int]
            OUT3_FIELD_NUMBER: _ClassVar[int]
            IN4_FIELD_NUMBER: _ClassVar[int]
            OUT4_FIELD_NUMBER: _ClassVar[int]
            Status1: int
            Status2: int
            Status3: int
            Status4: int
            In1: int
            Out1: int
            In2: int
            Out2: int
            In3: int
            Out3: int
            In4: int
            Out4: int
            def __init__(self, Status1: _Optional[int] = ..., Status2: _Optional[int] = ..., Status3: _Optional[int] = ..., Status4: _Optional[int] = ..., In1: _Optional[int] = ..., Out1: _Optional[int] = ..., In2: _Optional[int] = ..., Out2: _Optional[int] = ..., In3: _Optional[int] = ..., Out3: _Optional[int] = ..., In4: _Optional[int] = ..., Out4: _Optional[int] = ...) -> None: ...
        class MobileEye(_message.Message):
            __slots__ = ("Status", "CAN700", "CAN727", "CAN760")
            STATUS_FIELD_NUMBER: _ClassVar[int]
            CAN700_FIELD_NUMBER: _ClassVar[int]
            CAN727_FIELD_NUMBER: _ClassVar[int]
            CAN760_FIELD_NUMBER: _ClassVar[int]
            Status: int
            CAN700: _containers.RepeatedScalarFieldContainer[bytes]
            CAN727: _containers.RepeatedScalarFieldContainer[bytes]
            CAN760: _containers.RepeatedScalarFieldContainer[bytes]
            def __init__(self, Status: _Optional[int] = ..., CAN700: _Optional[_Iterable[bytes]] = ..., CAN727: _Optional[_Iterable[bytes]] = ..., CAN760: _Optional[_Iterable[bytes]] = ...) -> None: ...
        class SafeDriving(_message.Message):
            __slots__ = ("EventMask", "SpeedThreshold", "RPMThreshold", "AccelThresholds")
            EVENTMASK_FIELD_NUMBER: _ClassVar[int]
            SPEEDTHRESHOLD_FIELD_NUMBER: _ClassVar[int]
            RPMTHRESHOLD_FIELD_NUMBER: _ClassVar[int]
            ACCELTHRESHOLDS_FIELD_NUMBER: _ClassVar[int]
            EventMask: int
            SpeedThreshold: int
            RPMThreshold: int
            AccelThresholds: _containers.RepeatedScalarFieldContainer[float]
            def __init__(self, EventMask: _Optional[int] = ..., SpeedThreshold: _Optional[int] = ..., RPMThreshold: _Optional[int] = ..., AccelThresholds: _Optional[_Iterable[float]] = ...) -> None: ...
        class GenComm(_message.Message):
            __slots__ = ()
            def __init__(self) -> None: ...
        class FuelSensorModbus(_message.Message):
            __slots__ = ("Level", "Median", "Percent", "Volume", "FuelTemp", "FuelWeight", "Density", "VaporTemp", "VaporWeight", "LiquidWeight", "PointTemp")
            LEVEL_FIELD_NUMBER: _ClassVar[int]
            MEDIAN_FIELD_NUMBER: _ClassVar[int]
            PERCENT_FIELD_NUMBER: _ClassVar[int]
            VOLUME_FIELD_NUMBER: _ClassVar[int]
            FUELTEMP_FIELD_NUMBER: _ClassVar[int]
            FUELWEIGHT_FIELD_NUMBER: _ClassVar[int]
            DENSITY_FIELD_NUMBER: _ClassVar[int]
            VAPORTEMP_FIELD_NUMBER: _ClassVar[int]
            VAPORWEIGHT_FIELD_NUMBER: _ClassVar[int]
            LIQUIDWEIGHT_FIELD_NUMBER: _ClassVar[int]
            POINTTEMP_FIELD_NUMBER: _ClassVar[int]
            Level: float
            Median: float
            Percent: int
            Volume: float
            FuelTemp: int
            FuelWeight: float
            Density: float
            VaporTemp: int
            VaporWeight: float
            LiquidWeight: float
            PointTemp: _containers.RepeatedScalarFieldContainer[int]
            def __init__(self, Level: _Optional[float] = ..., Median: _Optional[float] = ..., Percent: _Optional[int] = ..., Volume: _Optional[float] = ..., FuelTemp: _Optional[int] = ..., FuelWeight: _Optional[float] = ..., Density: _Optional[float] = ..., VaporTemp: _Optional[int] = ..., VaporWeight: _Optional[float] = ..., LiquidWeight: _Optional[float] = ..., PointTemp: _Optional[_Iterable[int]] = ...) -> None: ...
        class WeightControl(_message.Message):
            __slots__ = ("AxleWeight", "AxleLimit", "TotalWeight", "TotalLimit")
            AXLEWEIGHT_FIELD_NUMBER: _ClassVar[int]
            AXLELIMIT_FIELD_NUMBER: _ClassVar[int]
            TOTALWEIGHT_FIELD_NUMBER: _ClassVar[int]
            TOTALLIMIT_FIELD_NUMBER: _ClassVar[int]
            AxleWeight: _containers.RepeatedScalarFieldContainer[float]
            AxleLimit: _containers.RepeatedScalarFieldContainer[float]
            TotalWeight: float
            TotalLimit: float
            def __init__(self, AxleWeight: _Optional[_Iterable[float]] = ..., AxleLimit: _Optional[_Iterable[float]] = ..., TotalWeight: _Optional[float] = ..., TotalLimit: _Optional[float] = ...) -> None: ...
        ONEWIRE_FIELD_NUMBER: _ClassVar[int]
        PHERIP_FIELD_NUMBER: _ClassVar[int]
        EXCAN_FIELD_NUMBER: _ClassVar[int]
        TAHODDD_FIELD_NUMBER: _ClassVar[int]
        APC_FIELD_NUMBER: _ClassVar[int]
        MOBILEEYE_FIELD_NUMBER: _ClassVar[int]
        SAFEDRIVING_FIELD_NUMBER: _ClassVar[int]
        GENCOMM_FIELD_NUMBER: _ClassVar[int]
        FUELSENSORMODBUS_FIELD_NUMBER: _ClassVar[int]
        WEIGHTCONTROL_FIELD_NUMBER: _ClassVar[int]
        onewire: RecReg.Other.OneWire
        pherip: RecReg.Other.Pherip
        excan: RecReg.Other.ExCAN
        tahoddd: RecReg.Other.TahoDDD
        apc: RecReg.Other.APC
        mobileeye: RecReg.Other.MobileEye
        safedriving: RecReg.Other.SafeDriving
        gencomm: RecReg.Other.GenComm
        fuelsensormodbus: RecReg.Other.FuelSensorModbus
        weightcontrol: RecReg.Other.WeightControl
        def __init__(self, onewire: _Optional[_Union[RecReg.Other.OneWire, _Mapping]] = ..., pherip: _Optional[_Union[RecReg.Other.Pherip, _Mapping]] = ..., excan: _Optional[_Union[RecReg.Other.ExCAN, _Mapping]] = ..., tahoddd: _Optional[_Union[RecReg.Other.TahoDDD, _Mapping]] = ..., apc: _Optional[_Union[RecReg.Other.APC, _Mapping]] = ..., mobileeye: _Optional[_Union[RecReg.Other.MobileEye, _Mapping]] = ..., safedriving: _Optional[_Union[RecReg.Other.SafeDriving, _Mapping]] = ..., gencomm: _Optional[_Union[RecReg.Other.GenComm, _Mapping]] = ..., fuelsensormodbus: _Optional[_Union[RecReg.Other.FuelSensorModbus, _Mapping]] = ..., weightcontrol: _Optional[_Union[RecReg.Other.WeightControl, _Mapping]] = ...) -> None: ...
    class ICONDt(_message.Message):
        __slots__ = ("Status", "StatusID", "GroupID", "MsgID", "MsgStatus", "StatDate", "StatusPrev", "Active")
        STATUS_FIELD_NUMBER: _ClassVar[int]
        STATUSID_FIELD_NUMBER: _ClassVar[int]
        GROUPID_FIELD_NUMBER: _ClassVar[int]
        MSGID_FIELD_NUMBER: _ClassVar[int]
        MSGSTATUS_FIELD_NUMBER: _ClassVar[int]
        STATDATE_FIELD_NUMBER: _ClassVar[int]
        STATUSPREV_FIELD_NUMBER: _ClassVar[int]
        ACTIVE_FIELD_NUMBER: _ClassVar[int]
        Status: bytes
        StatusID: int
        GroupID: int
        MsgID: int
        MsgStatus: int
        StatDate: int
        StatusPrev: bytes
        Active: int
        def __init__(self, Status: _Optional[bytes] = ..., StatusID: _Optional[int] = ..., GroupID: _Optional[int] = ..., MsgID: _Optional[int] = ..., MsgStatus: _Optional[int] = ..., StatDate: _Optional[int] = ..., StatusPrev: _Optional[bytes] = ..., Active: _Optional[int] = ...) -> None: ...
    class OBDDt(_message.Message):
        __slots__ = ("Speed", "Distance", "Minutes", "Voltage", "RPM", "FuelLevel", "FuelRate", "OilTemp", "CoolantTemp", "Monitor", "VIN", "Samples")
        SPEED_FIELD_NUMBER: _ClassVar[int]
        DISTANCE_FIELD_NUMBER: _ClassVar[int]
        MINUTES_FIELD_NUMBER: _ClassVar[int]
        VOLTAGE_FIELD_NUMBER: _ClassVar[int]
        RPM_FIELD_NUMBER: _ClassVar[int]
        FUELLEVEL_FIELD_NUMBER: _ClassVar[int]
        FUELRATE_FIELD_NUMBER: _ClassVar[int]
        OILTEMP_FIELD_NUMBER: _ClassVar[int]
        COOLANTTEMP_FIELD_NUMBER: _ClassVar[int]
        MONITOR_FIELD_NUMBER: _ClassVar[int]
        VIN_FIELD_NUMBER: _ClassVar[int]
        SAMPLES_FIELD_NUMBER: _ClassVar[int]
        Speed: int
        Distance: int
        Minutes: int
        Voltage: int
        RPM: int
        FuelLevel: int
        FuelRate: int
        OilTemp: int
        CoolantTemp: int
        Monitor: int
        VIN: bytes
        Samples: int
        def __init__(self, Speed: _Optional[int] = ..., Distance: _Optional[int] = ..., Minutes: _Optional[int] = ..., Voltage: _Optional[int] = ..., RPM: _Optional[int] = ..., FuelLevel: _Optional[int] = ..., FuelRate: _Optional[int] = ..., OilTemp: _Optional[int] = ..., CoolantTemp: _Optional[int] = ..., Monitor: _Optional[int] = ..., VIN: _Optional[bytes] = ..., Samples: _Optional[int] = ...) -> None: ...
    class LOG(_message.Message):
        __slots__ = ("Debug", "LLSRefNum", "LLSRefLevelBef", "LLSRefLevelAfter", "LLSRefKoef", "LLSRefSens", "LLSRefTemp")
        DEBUG_FIELD_NUMBER: _ClassVar[int]
        LLSREFNUM_FIELD_NUMBER: _ClassVar[int]
        LLSREFLEVELBEF_FIELD_NUMBER: _ClassVar[int]
        LLSREFLEVELAFTER_FIELD_NUMBER: _ClassVar[int]
        LLSREFKOEF_FIELD_NUMBER: _ClassVar[int]
        LLSREFSENS_FIELD_NUMBER: _ClassVar[int]
        LLSREFTEMP_FIELD_NUMBER: _ClassVar[int]
        Debug: _containers.RepeatedScalarFieldContainer[bytes]
        LLSRefNum: int
        LLSRefLevelBef: _containers.RepeatedScalarFieldContainer[int]
        LLSRefLevelAfter: _containers.RepeatedScalarFieldContainer[int]
        LLSRefKoef: _containers.RepeatedScalarFieldContainer[int]
        LLSRefSens: _containers.RepeatedScalarFieldContainer[int]
        LLSRefTemp: _containers.RepeatedScalarFieldContainer[int]
        def __init__(self, Debug: _Optional[_Iterable[bytes]] = ..., LLSRefNum: _Optional[int] = ..., LLSRefLevelBef: _Optional[_Iterable[int]] = ..., LLSRefLevelAfter: _Optional[_Iterable[int]] = ..., LLSRefKoef: _Optional[_Iterable[int]] = ..., LLSRefSens: _Optional[_Iterable[int]] = ..., LLSRefTemp: _Optional[_Iterable[int]] = ...) -> None: ...
    MID_FIELD_NUMBER: _ClassVar[int]
    GENERAL_FIELD_NUMBER: _ClassVar[int]
    PHOTO_FIELD_NUMBER: _ClassVar[int]
    NAV_FIELD_NUMBER: _ClassVar[int]
    UNIDT_FIELD_NUMBER: _ClassVar[int]
    CANDT_FIELD_NUMBER: _ClassVar[int]
    LLSDT_FIELD_NUMBER: _ClassVar[int]
    OTHER_FIELD_NUMBER: _ClassVar[int]
    ICONDT_FIELD_NUMBER: _ClassVar[int]
    OBDDT_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    mID: _containers.RepeatedScalarFieldContainer[int]
    general: RecReg.General
    photo: RecReg.Photo
    nav: RecReg.NAV
    unidt: RecReg.UniDt
    candt: RecReg.CanDt
    llsdt: RecReg.LLSDt
    other: RecReg.Other
    icondt: RecReg.ICONDt
    obddt: RecReg.OBDDt
    log: RecReg.LOG
    def __init__(self, mID: _Optional[_Iterable[int]] = ..., general: _Optional[_Union[RecReg.General, _Mapping]] = ..., photo: _Optional[_Union[RecReg.Photo, _Mapping]] = ..., nav: _Optional[_Union[RecReg.NAV, _Mapping]] = ..., unidt: _Optional[_Union[RecReg.UniDt, _Mapping]] = ..., candt: _Optional[_Union[RecReg.CanDt, _Mapping]] = ..., llsdt: _Optional[_Union[RecReg.LLSDt, _Mapping]] = ..., other: _Optional[_Union[RecReg.Other, _Mapping]] = ..., icondt: _Optional[_Union[RecReg.ICONDt, _Mapping]] = ..., obddt: _Optional[_Union[RecReg.OBDDt, _Mapping]] = ..., log: _Optional[_Union[RecReg.LOG, _Mapping]] = ...) -> None: ...
